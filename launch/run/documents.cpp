/// Finds, reads and checks cu_seqlens.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run/documents.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "runtime/checkpoint/checksum.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus::launch {
namespace {

constexpr const char* list_name = "cu_seqlens";

/// In the group of the dataset.
std::string beside(const std::string& dataset) {
  const std::size_t slash = dataset.rfind('/');
  return slash == std::string::npos ? list_name : dataset.substr(0, slash + 1) + list_name;
}

/// What to read, and whether it must be there.
struct Wanted {
  DatasetName list;
  bool is_asked_for = false;
};

Wanted wanted_list(const RunOptions& options) {
  const std::string& named = options.cu_seqlens;
  if (!named.empty()) return {dataset_name(named), true};
  const DatasetName input = dataset_name(options.input);
  if (input.dataset.empty() || !options.resume.empty()) return {};
  return {{input.path, beside(input.dataset)}};
}

void check(const Documents& documents, const RunInput* input) {
  const std::vector<std::int64_t>& bounds = documents.bounds;
  if (bounds.empty()) throw InputError(documents.source + " is empty (it starts with 0 and ends with the length of the input)");
  if (input != nullptr && bounds.back() != input->seq_len()) {
    throw InputError(fmt::format("{} ends with {}, but the input has {} tokens (every token is in a document)",
                                 documents.source, bounds.back(), input->seq_len()));
  }
  try {
    const Mask documented({.cu_seqlens = bounds}, bounds.back(), bounds.back());
  } catch (const UsageError& error) {
    throw InputError(fmt::format("{} bounds no documents: {}", documents.source, error.what()));
  }
}

}  // namespace

Documents read_documents(const Communicator& world, const RunOptions& options, const RunInput* input) {
  const Wanted wanted = wanted_list(options);
  if (wanted.list.path.empty()) return {};
  const std::array names{wanted.list.dataset};
  const TensorReader file(world, wanted.list.path, names);
  Documents documents{fmt::format("{}:/{}", wanted.list.path, wanted.list.dataset), {}};
  if (file.find(wanted.list.dataset) == nullptr) {
    if (!wanted.is_asked_for) return {};
    throw InputError(documents.source + " does not exist (--cu-seqlens names a list of integers); try another dataset");
  }
  together(world, [&] {
    documents.bounds = file.read_integers(wanted.list.dataset);
    check(documents, input);
  });
  return documents;
}

std::vector<std::int64_t> bounds_within(const Documents& documents, std::int64_t seq_len) {
  if (documents.source.empty()) return {};
  std::vector<std::int64_t> bounds = documents.bounds;
  if (bounds.back() < seq_len) {
    throw InputError(fmt::format("{} ends with {}, before the {} tokens of the run (every token is in a document)",
                                 documents.source, bounds.back(), seq_len));
  }
  bounds.erase(std::lower_bound(bounds.begin(), bounds.end(), seq_len), bounds.end());
  bounds.push_back(seq_len);
  return bounds;
}

std::string digest_of(const std::vector<std::int64_t>& bounds) {
  return checkpoint::hex(checkpoint::checksum_of(std::as_bytes(std::span(bounds))));
}

}  // namespace annulus::launch
