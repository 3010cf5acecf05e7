/// The shortest way through the HDF5 C interface.
// SPDX-License-Identifier: Apache-2.0
#include "tests/runtime/checkpoint/plain_hdf5.hpp"

#include <hdf5.h>

#include <cstddef>
#include <stdexcept>

#include "kernels/base/dtype.hpp"

namespace annulus::test {
namespace {

template <class Result>
Result must(Result result) {
  if (result < 0) throw std::runtime_error("a plain HDF5 call of a test failed");
  return result;
}

/// Sign at bit 15, `exponent_bits` above `mantissa_bits`.
hid_t narrow_float(std::size_t exponent_bits, std::size_t mantissa_bits, std::size_t bias) {
  const hid_t type = must(H5Tcopy(H5T_IEEE_F32LE));
  must(H5Tset_fields(type, 15, mantissa_bits, exponent_bits, 0, mantissa_bits));
  must(H5Tset_size(type, 2));
  must(H5Tset_ebias(type, bias));
  return type;
}

hid_t type_of(const std::string& word) {
  if (word == "f32") return must(H5Tcopy(H5T_IEEE_F32LE));
  if (word == "f64") return must(H5Tcopy(H5T_IEEE_F64LE));
  if (word == "f16") return narrow_float(5, 10, 15);
  if (word == "bf16") return narrow_float(8, 7, 127);
  if (word == "i32") return must(H5Tcopy(H5T_STD_I32LE));
  if (word == "i64") return must(H5Tcopy(H5T_STD_I64LE));
  if (word == "u8") return must(H5Tcopy(H5T_STD_U8LE));
  if (word.ends_with("be")) {
    const hid_t type = type_of(word.substr(0, word.size() - 2));
    must(H5Tset_order(type, H5T_ORDER_BE));
    return type;
  }
  throw std::runtime_error("no such type: " + word);
}

std::string word_of(hid_t type) {
  for (const char* word : {"f32", "f64", "f16", "bf16", "i32", "i64", "u8"}) {
    const hid_t known = type_of(word);
    const bool same = H5Tequal(type, known) > 0;
    H5Tclose(known);
    if (same) return word;
  }
  return "unknown";
}

template <class T>
void append(std::vector<std::byte>& bytes, T value) {
  const auto* raw = reinterpret_cast<const std::byte*>(&value);
  bytes.insert(bytes.end(), raw, raw + sizeof value);
}

/// The bytes of the values in little-endian order (this machine's).
std::vector<std::byte> encode(const PlainDataset& dataset) {
  std::vector<std::byte> bytes;
  for (const double x : dataset.values) {
    if (dataset.type == "f64")
      append(bytes, x);
    else if (dataset.type.starts_with("f32"))
      append(bytes, static_cast<float>(x));
    else if (dataset.type.starts_with("bf16"))
      append(bytes, from_double<bf16>(x));
    else if (dataset.type == "f16")
      append(bytes, from_double<f16>(x));
    else if (dataset.type == "i32")
      append(bytes, static_cast<std::int32_t>(x));
    else if (dataset.type == "i64")
      append(bytes, static_cast<std::int64_t>(x));
    else
      append(bytes, static_cast<std::uint8_t>(x));
  }
  return bytes;
}

template <class T>
double element(const std::vector<std::byte>& bytes, std::size_t i) {
  return static_cast<double>(reinterpret_cast<const T*>(bytes.data())[i]);
}
template <class T>
double narrow_element(const std::vector<std::byte>& bytes, std::size_t i) {
  return to_double(reinterpret_cast<const T*>(bytes.data())[i]);
}

double decode(const std::string& type, const std::vector<std::byte>& bytes, std::size_t i) {
  if (type == "f64") return element<double>(bytes, i);
  if (type == "f32") return element<float>(bytes, i);
  if (type == "bf16") return narrow_element<bf16>(bytes, i);
  if (type == "f16") return narrow_element<f16>(bytes, i);
  if (type == "i32") return element<std::int32_t>(bytes, i);
  if (type == "i64") return element<std::int64_t>(bytes, i);
  throw std::runtime_error("cannot read type " + type);
}

hid_t creation_of(const PlainDataset& dataset, Storage storage) {
  const hid_t properties = must(H5Pcreate(H5P_DATASET_CREATE));
  std::vector<hsize_t> chunk;
  for (const std::int64_t dim : dataset.dims) chunk.push_back(dim > 1 ? 2 : 1);
  if (storage == Storage::chunked || storage == Storage::deflated) {
    must(H5Pset_chunk(properties, static_cast<int>(chunk.size()), chunk.data()));
  }
  if (storage == Storage::deflated) must(H5Pset_deflate(properties, 1));
  if (storage == Storage::external) must(H5Pset_external(properties, "/etc/passwd", 0, H5F_UNLIMITED));
  return properties;
}

void write_dataset(hid_t file, const PlainDataset& dataset, Storage storage) {
  const std::vector<hsize_t> extents(dataset.dims.begin(), dataset.dims.end());
  const hid_t stored = type_of(dataset.type);
  const hid_t space = must(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr));
  const hid_t properties = creation_of(dataset, storage);
  const hid_t id = must(H5Dcreate2(file, dataset.name.c_str(), stored, space, H5P_DEFAULT, properties, H5P_DEFAULT));
  if (storage != Storage::external && !dataset.values.empty()) {
    const bool swapped = dataset.type.ends_with("be");
    const hid_t memory = type_of(swapped ? dataset.type.substr(0, dataset.type.size() - 2) : dataset.type);
    must(H5Dwrite(id, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, encode(dataset).data()));
    must(H5Tclose(memory));
  }
  must(H5Dclose(id));
  must(H5Pclose(properties));
  must(H5Sclose(space));
  must(H5Tclose(stored));
}

}  // namespace

void write_plain(const std::string& path, const std::vector<PlainDataset>& datasets, Storage storage) {
  const hid_t file = must(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT));
  for (const PlainDataset& dataset : datasets) write_dataset(file, dataset, storage);
  must(H5Fclose(file));
}

void add_soft_link(const std::string& path, const std::string& name, const std::string& target) {
  const hid_t file = must(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
  must(H5Lcreate_soft(target.c_str(), file, name.c_str(), H5P_DEFAULT, H5P_DEFAULT));
  must(H5Fclose(file));
}

void add_external_link(const std::string& path, const std::string& name, const std::string& other,
                       const std::string& target) {
  const hid_t file = must(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
  must(H5Lcreate_external(other.c_str(), target.c_str(), file, name.c_str(), H5P_DEFAULT, H5P_DEFAULT));
  must(H5Fclose(file));
}

void rename_dataset(const std::string& path, const std::string& from, const std::string& to) {
  const hid_t file = must(H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT));
  must(H5Lmove(file, from.c_str(), file, to.c_str(), H5P_DEFAULT, H5P_DEFAULT));
  must(H5Fclose(file));
}

std::optional<PlainDataset> read_plain(const std::string& path, const std::string& name) {
  const hid_t file = must(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
  if (must(H5Lexists(file, name.c_str(), H5P_DEFAULT)) == 0) {
    must(H5Fclose(file));
    return std::nullopt;
  }
  const hid_t id = must(H5Dopen2(file, name.c_str(), H5P_DEFAULT));
  const hid_t type = must(H5Dget_type(id));
  const hid_t space = must(H5Dget_space(id));
  std::vector<hsize_t> extents(static_cast<std::size_t>(must(H5Sget_simple_extent_ndims(space))));
  must(H5Sget_simple_extent_dims(space, extents.data(), nullptr));
  const auto count = static_cast<std::size_t>(must(H5Sget_simple_extent_npoints(space)));
  std::vector<std::byte> bytes(count * H5Tget_size(type));
  if (count > 0) must(H5Dread(id, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()));
  PlainDataset dataset{name, word_of(type), {extents.begin(), extents.end()}, {}};
  for (std::size_t i = 0; i < count; ++i) dataset.values.push_back(decode(dataset.type, bytes, i));
  must(H5Sclose(space));
  must(H5Tclose(type));
  must(H5Dclose(id));
  must(H5Fclose(file));
  return dataset;
}

}  // namespace annulus::test
