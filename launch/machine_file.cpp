/// Keys are read once and each must be known: a misspelt rate is no rate.
// SPDX-License-Identifier: Apache-2.0
#include "launch/machine_file.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <initializer_list>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "kernels/base/error.hpp"
#include "kernels/kernel_table.hpp"
#include "launch/report.hpp"

namespace annulus::launch {
namespace {

using forecast::KernelSpeed;
using forecast::LinkSpeed;
using forecast::Machine;
using kernels::Direction;

constexpr std::string_view first_words = "# A machine for `annulus plan` and `annulus study`.";
constexpr double largest = 1e24;  ///< flop/s, bytes/s: no node has more

bool is_backend(std::string_view name) {
  const auto tables = kernels::kernel_tables();
  return name == "auto" || name == "simd" || std::ranges::find(tables, name, &kernels::KernelTable::name) != tables.end();
}

/// One table of the file.
class Section {
 public:
  Section(const std::string& path, std::string name, const toml::table& table, std::initializer_list<std::string_view> known)
      : path_(path), name_(std::move(name)), table_(table) {
    for (const auto& [key, value] : table) {
      if (std::find(known.begin(), known.end(), key.str()) != known.end()) continue;
      refuse(key.str(), "is unknown (nothing would read it)", value.source());
    }
  }

  std::string text(std::string_view key) const {
    const auto value = node(key).value<std::string>();
    if (!value) refuse(key, "is no text", node(key).source());
    return *value;
  }
  /// Any that is known, whether this build has it or not.
  std::string backend() const {
    const std::string name = text("backend");
    if (!is_backend(name)) refuse("backend", fmt::format("'{}' is unknown", name), node("backend").source());
    return name;
  }
  std::int64_t count(std::string_view key, std::int64_t most = std::numeric_limits<std::int64_t>::max()) const {
    const auto value = node(key).value<std::int64_t>();
    if (!value || *value < 1) refuse(key, "is no whole number above 0", node(key).source());
    if (*value > most) refuse(key, fmt::format("is more than {}", most), node(key).source());
    return *value;
  }
  double real(std::string_view key, double least = 0, double most = largest) const {
    const auto value = node(key).value<double>();
    if (!value || !std::isfinite(*value) || *value < least || *value > most) {
      refuse(key, fmt::format("is no number in [{:g}, {:g}]", least, most), node(key).source());
    }
    return *value;
  }
  double rate(std::string_view key) const { return real(key, 1e-9); }
  double real_or(std::string_view key, double otherwise) const { return has(key) ? real(key) : otherwise; }
  bool has(std::string_view key) const { return table_.contains(key); }

 private:
  const toml::node& node(std::string_view key) const {
    const toml::node* found = table_.get(key);
    if (found == nullptr) refuse(key, "is missing", table_.source());
    return *found;
  }
  [[noreturn]] void refuse(std::string_view key, const std::string& why, const toml::source_region& where) const {
    throw InputError(fmt::format("{}:{}: {}{}{} {}; `annulus calibrate` writes such files", path_, where.begin.line, name_,
                                 name_.empty() ? "" : ".", key, why));
  }

  const std::string& path_;
  std::string name_;
  const toml::table& table_;
};

DType parse_kernel_dtype(const std::string& path, const std::string& word) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16}) {
    if (name(dtype) == word) return dtype;
  }
  throw InputError(fmt::format("{}: kernel.dtype '{}' is unknown; try f32, bf16 or f16", path, word));
}

Direction parse_direction(const std::string& path, const std::string& text) {
  for (const Direction direction : {Direction::forward, Direction::backward}) {
    if (word(direction) == text) return direction;
  }
  throw InputError(fmt::format("{}: kernel.direction '{}' is unknown; try forward or backward", path, text));
}

KernelSpeed kernel_from(const std::string& path, const toml::table& table) {
  const Section kernel(path, "kernel", table,
                       {"dtype", "head_dim", "direction", "flops_per_second", "edge_keys", "row_seconds", "step_row_seconds"});
  return {.dtype = parse_kernel_dtype(path, kernel.text("dtype")),
          .head_dim = kernel.count("head_dim"),
          .direction = parse_direction(path, kernel.text("direction")),
          .flops_per_second = kernel.rate("flops_per_second"),
          .edge_keys = kernel.real_or("edge_keys", 0),
          .row_seconds = kernel.real_or("row_seconds", 0),
          .step_row_seconds = kernel.real_or("step_row_seconds", 0)};
}

/// None where the section says nothing of it.
std::optional<LinkSpeed> link_from(const Section& link) {
  if (!link.has("latency_seconds") && !link.has("bytes_per_second") && !link.has("busy_share")) return std::nullopt;
  return LinkSpeed{.latency_seconds = link.real("latency_seconds"),
          .bytes_per_second = link.rate("bytes_per_second"),
          .busy_share = link.has("busy_share") ? link.real("busy_share", 0, 1) : 0};
}

const toml::table& table_in(const std::string& path, const toml::table& file, std::string_view key) {
  const toml::node* const found = file.get(key);
  if (found == nullptr || !found->is_table()) {
    throw InputError(fmt::format("{} has no section [{}]; `annulus calibrate` writes such files", path, key));
  }
  return *found->as_table();
}

Machine machine_from(const std::string& path, const toml::table& file) {
  const Section top(path, "", file, {"name", "source", "backend", "node", "network", "rows", "files", "kernel"});
  Machine machine;
  machine.name = top.text("name");
  machine.source = top.text("source");
  machine.backend = top.backend();
  const Section node(path, "node", table_in(path, file, "node"),
                     {"cores", "memory_bytes", "latency_seconds", "bytes_per_second", "busy_share"});
  machine.cores_per_node = static_cast<int>(node.count("cores", 1 << 20));
  machine.memory_per_node = static_cast<std::uint64_t>(node.count("memory_bytes"));
  machine.node = link_from(node);
  if (file.contains("network")) {
    const Section network(path, "network", table_in(path, file, "network"),
                          {"latency_seconds", "bytes_per_second", "busy_share", "node_ports_bytes_per_second"});
    machine.network = link_from(network);
    machine.node_ports_bytes_per_second = network.real_or("node_ports_bytes_per_second", 0);
  }
  if (file.contains("rows")) {
    const Section rows(path, "rows", table_in(path, file, "rows"), {"projection_flops_per_second", "weights_per_second"});
    machine.projection_flops_per_second = rows.real_or("projection_flops_per_second", 0);
    machine.weights_per_second = rows.real_or("weights_per_second", 0);
  }
  if (file.contains("files")) {
    const Section files(path, "files", table_in(path, file, "files"), {"write_bytes_per_second", "read_bytes_per_second"});
    machine.file_write_bytes_per_second = files.real_or("write_bytes_per_second", 0);
    machine.file_read_bytes_per_second = files.real_or("read_bytes_per_second", 0);
  }
  const toml::array* const kernels = file["kernel"].as_array();
  if (kernels == nullptr || kernels->empty() || !kernels->is_homogeneous<toml::table>()) {
    throw InputError(fmt::format("{} has no [[kernel]] (nothing to forecast from); `annulus calibrate` writes such files", path));
  }
  for (const toml::node& kernel : *kernels) machine.kernels.push_back(kernel_from(path, *kernel.as_table()));
  return machine;
}

std::string link_text(const LinkSpeed& link) {
  return fmt::format("latency_seconds = {:.3e}\nbytes_per_second = {:.4e}\nbusy_share = {:.2f}\n", link.latency_seconds,
                     link.bytes_per_second, link.busy_share);
}

/// What was not measured is not there; what is follows the node's own keys.
std::string links_text(const Machine& machine) {
  std::string text = "# Messages between its ranks; busy_share: of a transfer's time, what it takes from a computing core.\n";
  text += machine.node ? link_text(*machine.node) : "# Not measured: one rank was on it.\n";
  if (!machine.network) return text + "\n# No [network]: one node was measured.\n";
  return text + fmt::format("\n# Between nodes; all ports of a node together.\n[network]\n{}node_ports_bytes_per_second = {:.4e}\n",
                            link_text(*machine.network), machine.node_ports_bytes_per_second);
}

/// A basic string of TOML: escapes and UTF-8 as in JSON, and no control characters.
std::string quoted(std::string text) {
  std::ranges::replace_if(text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == '\x7f'; }, ' ');
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

std::string kernel_text(const KernelSpeed& kernel) {
  return fmt::format("\n[[kernel]]\ndtype = \"{}\"\nhead_dim = {}\ndirection = \"{}\"\nflops_per_second = {:.4e}\n"
                     "edge_keys = {:.1f}\nrow_seconds = {:.3e}\nstep_row_seconds = {:.3e}\n",
                     name(kernel.dtype), kernel.head_dim, word(kernel.direction), kernel.flops_per_second, kernel.edge_keys,
                     kernel.row_seconds, kernel.step_row_seconds);
}

}  // namespace

Machine read_machine(const std::string& path) {
  try {
    return machine_from(path, toml::parse_file(path));
  } catch (const toml::parse_error& error) {
    const auto line = error.source().begin.line;  // 0: there is no such file
    throw InputError(fmt::format("{}{}: {} (no machine can be read from it); `annulus calibrate` writes such files", path,
                                 line > 0 ? fmt::format(":{}", line) : "", error.description()));
  }
}

bool is_machine_file(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  if (line.starts_with(first_words)) return true;
  try {
    (void)read_machine(path);
    return true;
  } catch (const InputError&) {
    return false;
  }
}

std::string machine_text(const Machine& machine) {
  std::string text = fmt::format(
      "{} Rates are per core (or GPU) while all of a node work.\n"
      "name = {}\nsource = {}\nbackend = \"{}\"\n",
      first_words, quoted(machine.name), quoted(machine.source), machine.backend);
  text += fmt::format("\n[node]\ncores = {}\nmemory_bytes = {}\n", machine.cores_per_node, machine.memory_per_node);
  text += links_text(machine);
  text += fmt::format("\n# What a stack does to single rows, and making seeded weights.\n[rows]\n"
                      "projection_flops_per_second = {:.4e}\nweights_per_second = {:.4e}\n",
                      machine.projection_flops_per_second, machine.weights_per_second);
  if (machine.file_write_bytes_per_second > 0) {
    text += fmt::format("\n# All ranks together.\n[files]\nwrite_bytes_per_second = {:.4e}\nread_bytes_per_second = {:.4e}\n",
                        machine.file_write_bytes_per_second, machine.file_read_bytes_per_second);
  }
  text += "\n# Seconds are of one row of one head; edge_keys are computed in vain where a mask ends within a block.";
  for (const KernelSpeed& kernel : machine.kernels) text += kernel_text(kernel);
  return text;
}

}  // namespace annulus::launch
