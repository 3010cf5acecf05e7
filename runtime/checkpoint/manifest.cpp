/// Writes manifests and reads them without trust.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/manifest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <span>

#include "kernels/base/checked.hpp"
#include "runtime/checkpoint/tensor_name.hpp"

namespace annulus::checkpoint {
namespace {

using Json = nlohmann::json;                 // to read: members in a tree, so that many of them cost no square
using OrderedJson = nlohmann::ordered_json;  // to write, as a reader likes it

constexpr std::string_view format_name = "annulus checkpoint";
constexpr int deepest_level = 8;  ///< of nesting; a manifest has 4
constexpr std::int64_t last_sequence = std::int64_t{1} << 62;
constexpr std::string_view own_checksum_line = "\n  \"manifest_xxh64\": ";

OrderedJson to_json(const DatasetRecord& dataset) {
  OrderedJson checksums = OrderedJson::array();
  for (const std::uint64_t checksum : dataset.checksums) checksums.push_back(hex(checksum));
  return {{"name", "/" + dataset.name},
          {"dtype", name(dataset.dtype)},
          {"shape", dataset.shape},
          {"row_axis", dataset.row_axis},
          {"saved_layout", name(dataset.saved_layout)},
          {"offset", dataset.offset},
          {"granule_rows", dataset.granule_rows},
          {"xxh64", std::move(checksums)}};
}

OrderedJson to_json(const MetadataRecord& metadata) {
  return {{"offset", metadata.offset}, {"bytes", metadata.bytes}, {"xxh64", hex(metadata.checksum)}};
}

template <class Records>
OrderedJson list_of(const Records& records) {
  OrderedJson list = OrderedJson::array();
  for (const auto& record : records) list.push_back(to_json(record));
  return list;
}

/// What is wrong with a manifest; parse_manifest adds the path.
[[noreturn]] void refuse(const std::string& problem) { throw InputError(problem); }

std::uint64_t parse_hex(const std::string& text) {
  std::uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  if (hex(value) != text) refuse("'" + text + "' is no checksum");
  return value;
}

template <class T>
T parse_word(const std::optional<T>& parsed, const std::string& word, const char* what) {
  if (!parsed) refuse("it names an unknown " + std::string(what) + " '" + word + "'");
  return *parsed;
}

/// Integers from 0 to 2^63 - 1.
std::int64_t parse_size(const Json& value, const char* what) {
  const bool positive = value.is_number_unsigned() && value.get<std::uint64_t>() >> 63 == 0;
  if (!positive) refuse("its " + std::string(what) + " is no size");
  return value.get<std::int64_t>();
}

std::int64_t size_at(const Json& json, const char* key) { return parse_size(json.at(key), key); }

std::vector<std::int64_t> parse_shape(const Json& json) {
  if (json.size() != 3 && json.size() != 4) refuse("it has a tensor that is not of 3 or 4 dimensions");
  std::vector<std::int64_t> shape;
  for (const Json& extent : json) shape.push_back(parse_size(extent, "shape"));
  return shape;
}

void check_granules(const DatasetRecord& dataset) {
  const RowSpace space = dataset.space();
  const auto bytes = checked_product({dataset.granule_rows, space.row_bytes});
  if (dataset.granule_rows < 1 || bytes > static_cast<std::uint64_t>(largest_granule)) {
    refuse("its granules of /" + dataset.name + " are not of 1 byte to 16 MiB");
  }
  if (static_cast<std::int64_t>(dataset.checksums.size()) != dataset.granules().count()) {
    refuse("/" + dataset.name + " has " + std::to_string(dataset.checksums.size()) + " checksums for " +
           std::to_string(dataset.granules().count()) + " granules");
  }
}

DatasetRecord parse_dataset(const Json& json) {
  DatasetRecord dataset;
  const auto full_name = json.at("name").get<std::string>();
  if (!full_name.starts_with('/') || !is_tensor_name(std::string_view(full_name).substr(1))) {
    refuse("it names a tensor '" + full_name + "'");
  }
  dataset.name = full_name.substr(1);
  const auto dtype = json.at("dtype").get<std::string>();
  dataset.dtype = parse_word(parse_dtype(dtype), dtype, "element type");
  dataset.shape = parse_shape(json.at("shape"));
  const std::int64_t row_axis = size_at(json, "row_axis");
  if (row_axis != 1 && !(row_axis == 2 && dataset.shape.size() == 3)) refuse("it has rows along an unknown dimension");
  dataset.row_axis = static_cast<int>(row_axis);
  const auto layout = json.at("saved_layout").get<std::string>();
  dataset.saved_layout = parse_word(parse_layout(layout), layout, "layout");
  dataset.offset = static_cast<std::uint64_t>(size_at(json, "offset"));
  dataset.granule_rows = size_at(json, "granule_rows");
  for (const Json& checksum : json.at("xxh64")) dataset.checksums.push_back(parse_hex(checksum.get<std::string>()));
  check_granules(dataset);
  return dataset;
}

MetadataRecord parse_metadata(const Json& json) {
  return {static_cast<std::uint64_t>(size_at(json, "offset")), static_cast<std::uint64_t>(size_at(json, "bytes")),
          parse_hex(json.at("xxh64").get<std::string>())};
}

/// Every byte of the file is in one dataset or in one piece of metadata.
void check_cover(const Manifest& manifest) {
  std::set<std::string> names;
  for (const DatasetRecord& dataset : manifest.datasets) {
    if (!names.insert(dataset.name).second) refuse("it names /" + dataset.name + " twice");
  }
  const auto gaps = metadata_between(manifest.datasets, manifest.file_bytes);
  const auto same = [](const MetadataRecord& a, const MetadataRecord& b) {
    return a.offset == b.offset && a.bytes == b.bytes;
  };
  if (!std::equal(gaps.begin(), gaps.end(), manifest.metadata.begin(), manifest.metadata.end(), same)) {
    refuse("its checksums do not cover the data file");
  }
}

void check_own_checksum(const std::string& text) {
  constexpr std::size_t longest_line = 64;
  const auto at = text.rfind(own_checksum_line);
  if (at == std::string::npos || text.size() - at > longest_line) refuse("it is cut off");
  const auto written = Json::parse("{" + text.substr(at)).at("manifest_xxh64").get<std::string>();
  const auto covered = std::as_bytes(std::span(text).first(at + 1));
  if (parse_hex(written) != checksum_of(covered)) refuse("its own checksum does not fit it");
}

void check_format(const Json& json) {
  if (json.at("format").get<std::string>() != format_name) refuse("it is no checkpoint's manifest");
  const std::int64_t version = size_at(json, "format_version");
  if (version != format_version) {
    refuse(fmt::format("it has format version {}, this program reads {}", version, format_version));
  }
}

/// Stops where text stops looking like a manifest: hostile text gets no memory for the rest.
class Guard {
 public:
  bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
    using Event = Json::parse_event_t;
    if (depth > deepest_level) refuse("it is nested deeper than manifests are");
    if (event == Event::object_start || event == Event::array_start) {
      const bool is_array = event == Event::array_start;
      if (++brackets_ > most_brackets || (is_array && in_array())) refuse("it has more lists than manifests have");
      open_.push_back({is_array, 0});
    } else if (event == Event::object_end || event == Event::array_end) {
      open_.pop_back();
    } else if (event == Event::key) {
      if (++open_.back().members > most_members) refuse("it has more members than manifests have");
    } else if (in_array()) {
      check_element(parsed);
    }
    return true;
  }

 private:
  /// Lists hold objects, checksums, or the few extents of a tensor.
  void check_element(const Json& element) {
    if (element.is_string()) {
      if (element.get_ref<const std::string&>().size() != checksum_digits) refuse("a list in it holds no checksums");
    } else if (++open_.back().members > most_extents) {
      refuse("it has more extents than tensors have");
    }
  }
  bool in_array() const { return !open_.empty() && open_.back().is_array; }

  static constexpr std::int64_t most_brackets = 1'000'000;  // three for each tensor
  static constexpr int most_members = 32;
  static constexpr int most_extents = 8;
  static constexpr std::size_t checksum_digits = 16;
  struct Open {
    bool is_array;
    int members;
  };
  std::vector<Open> open_;
  std::int64_t brackets_ = 0;
};

Json parse_guarded(const std::string& text) {
  const auto guard = std::make_shared<Guard>();  // the parser copies what it calls
  return Json::parse(text, [guard](int depth, Json::parse_event_t event, const Json& parsed) {
    return (*guard)(depth, event, parsed);
  });
}

/// A date or a version: short, and safe to print.
std::string parse_label(const Json& json) {
  const auto text = json.get<std::string>();
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (!plain || text.size() > 64) refuse("a label in it is no plain word");
  return text;
}

Manifest from_json(const Json& json) {
  Manifest manifest;
  manifest.step = size_at(json, "step");
  manifest.sequence = size_at(json, "sequence");
  if (manifest.sequence > last_sequence) refuse("no checkpoint can follow it");
  manifest.created = parse_label(json.at("created"));
  manifest.program_version = parse_label(json.at("program_version"));
  manifest.ranks = json.at("ranks").get<int>();
  manifest.seed = json.at("seed").get<std::uint64_t>();
  manifest.plan = json.at("plan").get<std::string>();
  const Json& file = json.at("file");
  if (file.at("name").get<std::string>() != data_name)
    refuse("its data are in another file than " + std::string(data_name));
  manifest.file_bytes = static_cast<std::uint64_t>(size_at(file, "bytes"));
  for (const Json& metadata : file.at("metadata")) manifest.metadata.push_back(parse_metadata(metadata));
  for (const Json& dataset : json.at("datasets")) manifest.datasets.push_back(parse_dataset(dataset));
  return manifest;
}

}  // namespace

RowSpace DatasetRecord::space() const {
  const bool stats = row_axis == 2;
  RowSpace space{shape[0], shape[static_cast<std::size_t>(row_axis)], static_cast<std::int64_t>(size_of(dtype))};
  if (stats) space.lines = static_cast<std::int64_t>(checked_product({shape[0], shape[1]}));
  for (std::size_t i = 2; i < shape.size() && !stats; ++i) {
    space.row_bytes = static_cast<std::int64_t>(checked_product({space.row_bytes, shape[i]}));
  }
  checked_product({space.lines, space.seq, space.row_bytes});
  return space;
}

const DatasetRecord* Manifest::find(std::string_view wanted) const {
  const auto found = std::find_if(datasets.begin(), datasets.end(), [&](const auto& d) { return d.name == wanted; });
  return found == datasets.end() ? nullptr : &*found;
}

std::vector<MetadataRecord> metadata_between(const std::vector<DatasetRecord>& datasets, std::uint64_t file_bytes) {
  std::vector<const DatasetRecord*> ordered;
  for (const DatasetRecord& dataset : datasets) {
    if (dataset.space().bytes() > 0) ordered.push_back(&dataset);
  }
  std::sort(ordered.begin(), ordered.end(), [](const auto* a, const auto* b) { return a->offset < b->offset; });
  std::vector<MetadataRecord> gaps;
  std::uint64_t covered = 0;
  for (const DatasetRecord* dataset : ordered) {
    const auto bytes = static_cast<std::uint64_t>(dataset->space().bytes());
    if (dataset->offset < covered || dataset->offset > file_bytes || bytes > file_bytes - dataset->offset) {
      refuse("/" + dataset->name + " claims bytes outside the data file or of another tensor");
    }
    if (dataset->offset > covered) gaps.push_back({covered, dataset->offset - covered, 0});
    covered = dataset->offset + bytes;
  }
  if (covered < file_bytes) gaps.push_back({covered, file_bytes - covered, 0});
  return gaps;
}

std::string printable_line(std::string_view text) {
  constexpr std::size_t longest = 200;
  std::string line(text.substr(0, longest));
  for (char& c : line) {
    if (c < 0x20 || c > 0x7e) c = '?';
  }
  return text.size() > longest ? line + "..." : line;
}

std::string to_text(const Manifest& manifest) {
  const OrderedJson json = {
      {"format", format_name},
      {"format_version", format_version},
      {"step", manifest.step},
      {"sequence", manifest.sequence},
      {"created", manifest.created},
      {"program_version", manifest.program_version},
      {"ranks", manifest.ranks},
      {"seed", manifest.seed},
      {"plan", manifest.plan},
      {"complete", true},
      {"file", {{"name", data_name}, {"bytes", manifest.file_bytes}, {"metadata", list_of(manifest.metadata)}}},
      {"datasets", list_of(manifest.datasets)}};
  std::string text = json.dump(2);
  text.resize(text.size() - 2);  // without the closing "\n}"
  text += ",\n";
  const std::string own = hex(checksum_of(std::as_bytes(std::span(text))));
  return text + fmt::format("  \"manifest_xxh64\": \"{}\"\n}}\n", own);
}

Manifest parse_manifest(const std::string& text, const std::string& path) {
  try {
    const Json json = parse_guarded(text);
    check_format(json);
    check_own_checksum(text);
    if (!json.at("complete").get<bool>()) refuse("it says that the generation is not complete");
    Manifest manifest = from_json(json);
    check_cover(manifest);
    return manifest;
  } catch (const Json::exception& error) {
    throw InputError("'" + path + "' is no sound manifest (" + printable_line(error.what()) + ")");
  } catch (const Error& error) {
    throw InputError("'" + path + "' is no sound manifest (" + printable_line(error.what()) + ")");
  }
}

}  // namespace annulus::checkpoint
