/// Everything that can be wrong with the arguments of save(), before any file is touched.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/saved_shards.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "kernels/base/checked.hpp"
#include "runtime/checkpoint/tensor_name.hpp"

namespace annulus::checkpoint {
namespace {

std::vector<std::int64_t> shape_of(const ConstTensorView& view, const SavedShard& shard) {
  const auto width = [&] { return static_cast<std::int64_t>(checked_product({view.heads, view.head_dim})); };
  if (shard.merge_heads) return {view.batch, shard.layout.seq_len(), width()};
  return {view.batch, shard.layout.seq_len(), view.heads, view.head_dim};
}
std::vector<std::int64_t> shape_of(const ConstRowStats& stats, const SavedShard& shard) {
  return {stats.batch, stats.heads, shard.layout.seq_len()};
}

DType dtype_of(const ConstTensorView& view) { return view.dtype; }
DType dtype_of(const ConstRowStats&) { return DType::f32; }

bool has_extents(const ConstTensorView& view) { return view.batch >= 0 && view.heads >= 0 && view.head_dim >= 0; }
bool has_extents(const ConstRowStats& stats) { return stats.batch >= 0 && stats.heads >= 0; }

void check_shard(const Communicator& comm, const SavedShard& shard) {
  if (!is_tensor_name(shard.name)) {
    throw UsageError(
        fmt::format("'{}' cannot name a tensor (letters, digits, '_', '-', '.', '/' between groups can); try "
                    "'layers/000012/x'",
                    shard.name));
  }
  const std::int64_t rows = std::visit([](const auto& view) { return view.rows; }, shard.rows);
  if (shard.layout.ranks() != comm.size() || rows != shard.layout.rows(comm.rank())) {
    throw UsageError(fmt::format("{} rows of '{}' do not fit its layout over {} ranks; try the layout's own rows", rows,
                                 shard.name, shard.layout.ranks()));
  }
  if (!std::visit([](const auto& view) { return has_extents(view); }, shard.rows)) {
    throw UsageError(fmt::format("tensor '{}' has a negative extent; try its true shape", shard.name));
  }
  const std::int64_t row_bytes = record_of(shard).space().row_bytes;
  if (row_bytes > largest_granule) {
    throw UsageError(
        fmt::format("a row of '{}' has {} bytes (checksums cover whole rows of 16 MiB at most); try splitting "
                    "the tensor by heads",
                    shard.name, row_bytes));
  }
}

/// HDF5 takes no name as both a dataset and a group: "x" and "x/y".
void check_names(std::span<const SavedShard> shards) {
  std::set<std::string> names;
  for (const SavedShard& shard : shards) {
    if (!names.insert(shard.name).second)
      throw UsageError("two tensors are named '" + shard.name + "'; try other names");
  }
  for (const SavedShard& shard : shards) {
    for (std::size_t end = shard.name.find('/'); end != std::string::npos; end = shard.name.find('/', end + 1)) {
      const std::string group = shard.name.substr(0, end);
      if (!names.contains(group)) continue;
      throw UsageError("'" + group + "' is a tensor and the group of '" + shard.name + "'; try other names");
    }
  }
}

bool is_utf8(const std::string& text) {
  try {
    static_cast<void>(nlohmann::json(text).dump());
    return true;
  } catch (const nlohmann::json::exception&) {
    return false;
  }
}

}  // namespace

void check_saved(const Communicator& comm, const CheckpointNotes& notes, std::span<const SavedShard> shards) {
  constexpr std::int64_t most_steps = 999'999'999;
  constexpr std::size_t longest_plan = std::size_t{16} << 20;
  if (notes.step < 0 || notes.step > most_steps) {
    throw UsageError(fmt::format("step {} cannot name a checkpoint; try 0 to {}", notes.step, most_steps));
  }
  const bool is_text = is_utf8(notes.plan) && notes.plan.find('\0') == std::string::npos;
  if (notes.plan.size() > longest_plan || !is_text) {
    throw UsageError("a checkpoint's plan is UTF-8 text of 16 MiB at most, without zeros (it goes into JSON and HDF5); try "
                     "another encoding");
  }
  if (shards.empty()) throw UsageError("a checkpoint of no tensor; try one at least");
  for (const SavedShard& shard : shards) check_shard(comm, shard);
  check_names(shards);
}

std::uint64_t settings_hash(const CheckpointNotes& notes, std::span<const SavedShard> shards) {
  std::string text = fmt::format("{}\n{}\n{}\n", notes.step, notes.seed, notes.plan);
  for (const SavedShard& shard : shards) {
    const auto shape = std::visit([&](const auto& view) { return shape_of(view, shard); }, shard.rows);
    const auto dtype = std::visit([](const auto& view) { return dtype_of(view); }, shard.rows);
    text += fmt::format("{} {} {} {} {}\n", shard.name, name(dtype), shape, name(shard.layout.kind()),
                        shard.layout.stripe());
  }
  return checksum_of(std::as_bytes(std::span(text)));
}

DatasetRecord record_of(const SavedShard& shard) {
  DatasetRecord record;
  record.name = shard.name;
  record.dtype = std::visit([](const auto& view) { return dtype_of(view); }, shard.rows);
  record.shape = std::visit([&](const auto& view) { return shape_of(view, shard); }, shard.rows);
  record.row_axis = std::holds_alternative<ConstRowStats>(shard.rows) ? 2 : 1;
  record.saved_layout = shard.layout.kind();
  record.granule_rows = rows_per_granule(record.space());
  return record;
}

}  // namespace annulus::checkpoint
