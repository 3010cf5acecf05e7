/// The report of a command: one plain struct, one JSON contract, one short text for people.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/annulus.hpp"

namespace annulus::launch {

using Json = nlohmann::ordered_json;

/// "forward" or "backward".
std::string_view word(kernels::Direction direction);

/// One layer in one direction. Messages, bytes and flops are sums over ranks, seconds are maxima.
struct LayerReport {
  std::int64_t index = 0;
  MaskSpec mask;               ///< without documents
  std::int64_t documents = 0;  ///< 0: none are told apart
  kernels::Direction direction = kernels::Direction::forward;
  std::uint64_t messages = 0;
  std::uint64_t bytes_sent = 0;
  double flops = 0;
  double seconds = 0;
  double attention_seconds = 0;  ///< of `seconds`: without what a stack does to single rows
  double exposed_comm_seconds = 0;
};

struct VerifyReport {
  std::int64_t rows = 0;
  double max_abs_error = 0;
  double max_rel_error = 0;
};

/// What every command tells; a command may add its own keys to to_json().
struct Report {
  std::string command;
  int ranks = 1;
  int threads = 1;  ///< of a rank, the maximum over ranks
  std::string backend;
  std::string exchange;
  std::string mover;  ///< how blocks move between devices; empty unless exchange is "device"
  bool deterministic = false;  ///< was asked for
  std::string layout;
  std::int64_t seq_len = 0;
  double seconds = 0;                         ///< of the work, without reading and writing files
  std::vector<std::uint64_t> peak_rss_bytes;  ///< [rank]
  std::vector<LayerReport> layers;
  std::optional<VerifyReport> verify;
  std::optional<std::string> digest;  ///< 16 lower-case hex digits
};

/// Useful flops of all layers per second of the slowest rank, in units of 1e12.
double tflops(const Report& report);

/// "local" where a window or chunk narrows the layer, else "global".
std::string kind_of_layer(const MaskSpec& mask);

/// A report has a line per layer, and documents may be many.
MaskSpec without_documents(MaskSpec mask);
std::int64_t documents_in(const MaskSpec& mask);

/// Collective: one rank's call becomes the layer's line.
LayerReport layer_report(const Communicator& world, std::int64_t index, const MaskSpec& mask,
                         kernels::Direction direction, const CallReport& mine);

/// One line per layer and direction, for people.
std::string layer_table(const std::vector<LayerReport>& layers);

/// The JSON contract; absent features are null.
Json to_json(const Report& report);

/// Local. Writes a report: "" nowhere, "-" to standard output, else replaces the file. Throws ResourceError.
void write_report(const std::string& path, const Json& json);

/// Where --report goes: "" nowhere, "-" standard output, else a file.
class ReportFile {
 public:
  /// Collective. Proves before any work that the file can be written (ResourceError on all ranks); changes nothing.
  ReportFile(const Communicator& world, std::string path);
  /// Collective. Rank 0 replaces the file, by rename once it is complete.
  void write(const Communicator& world, const Json& json) const;

 private:
  std::string path_;
};

}  // namespace annulus::launch
