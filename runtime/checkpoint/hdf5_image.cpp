/// A sparse file in memory takes what HDF5 writes; its holes are the tensors.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/hdf5_image.hpp"

#include <bit>
#include <span>

#include "runtime/checkpoint/data_file.hpp"
#include "runtime/checkpoint/hdf5_dtype.hpp"
#include "runtime/checkpoint/hdf5_handle.hpp"
#include "runtime/checkpoint/input_check.hpp"

namespace annulus::checkpoint {
namespace {

using hdf5::check;
using hdf5::Context;

static_assert(std::endian::native == std::endian::little,
              "tensors go to the file as they lie in memory: little-endian");

using Attribute = Handle<hdf5::HidTraits<H5Aclose>>;

void put_attribute(hid_t object, const char* name, hid_t type, const void* value, const Context& context) {
  const hdf5::Space scalar(check(H5Screate(H5S_SCALAR), context, "describe an attribute of"));
  const Attribute attribute(
      check(H5Acreate2(object, name, type, scalar.get(), H5P_DEFAULT, H5P_DEFAULT), context, "create an attribute in"));
  check(H5Awrite(attribute.get(), type, value), context, "write an attribute of");
}

/// Of variable length: h5py reads those as str, and they may exceed 64 KiB.
void put_text(hid_t object, const char* name, const std::string& text, const Context& context) {
  const hdf5::Type type(check(H5Tcopy(H5T_C_S1), context, "describe a text of"));
  check(H5Tset_size(type.get(), H5T_VARIABLE), context, "describe a text of");
  check(H5Tset_cset(type.get(), H5T_CSET_UTF8), context, "describe a text of");
  const char* const characters = text.c_str();
  put_attribute(object, name, type.get(), &characters, context);
}

void put_attributes(hid_t file, const Manifest& manifest, const Context& context) {
  put_attribute(file, "format_version", H5T_NATIVE_INT64, &format_version, context);
  put_attribute(file, "step", H5T_NATIVE_INT64, &manifest.step, context);
  put_attribute(file, "seed", H5T_NATIVE_UINT64, &manifest.seed, context);
  put_text(file, "program_version", manifest.program_version, context);
  put_text(file, "plan", manifest.plan, context);
}

/// The format of HDF5 1.8: any reader knows it, and its headers bear checksums. Large tensors start at whole MiB, where
/// stripes of parallel file systems start.
hdf5::Properties image_access(const Context& context) {
  constexpr hsize_t stripe = hsize_t{1} << 20;
  hdf5::Properties access = hdf5::parallel_access(MPI_COMM_SELF, context);
  check(H5Pset_libver_bounds(access.get(), H5F_LIBVER_V18, H5F_LIBVER_V18), context, "choose the format of");
  check(H5Pset_alignment(access.get(), stripe, stripe), context, "align the tensors of");
  return access;
}

std::uint64_t create_dataset(hid_t file, const DatasetRecord& dataset, const Context& context) {
  const std::vector<hsize_t> extents(dataset.shape.begin(), dataset.shape.end());
  const hdf5::Space space(check(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), context,
                                "describe a dataset of"));
  const hdf5::Type type = hdf5::type_of(dataset.dtype, hdf5::Place::file, context);
  const hdf5::Properties links(check(H5Pcreate(H5P_LINK_CREATE), context, "name a dataset of"));
  check(H5Pset_create_intermediate_group(links.get(), 1), context, "name a dataset of");
  const hdf5::Properties storage = hdf5::unfilled_storage(context);
  const hdf5::Dataset created(
      check(H5Dcreate2(file, dataset.name.c_str(), type.get(), space.get(), links.get(), storage.get(), H5P_DEFAULT),
            context, "create a dataset in"));
  const std::string dtype(name(dataset.dtype));  // for readers that do not know bf16 as a float type
  put_text(created.get(), "dtype", dtype, context);
  const haddr_t offset = H5Dget_offset(created.get());
  return offset == HADDR_UNDEF ? 0 : offset;
}

void create_in(const std::string& path, Manifest& manifest) {
  const Context context{ExitCode::resources, path};
  const hdf5::Properties access = image_access(context);
  const hdf5::File file(check(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), context, "create"));
  put_attributes(file.get(), manifest, context);
  for (DatasetRecord& dataset : manifest.datasets) dataset.offset = create_dataset(file.get(), dataset, context);
  check(H5Fflush(file.get(), H5F_SCOPE_GLOBAL), context, "flush");
}

}  // namespace

Hdf5Image make_image(Manifest& manifest) {
  const hdf5::Manners manners;
  const DataFile memory = DataFile::in_memory();
  create_in(memory.path(), manifest);
  manifest.file_bytes = memory.bytes();
  manifest.metadata = metadata_between(manifest.datasets, manifest.file_bytes);
  Hdf5Image image;
  for (MetadataRecord& piece : manifest.metadata) {
    auto& bytes = image.metadata.emplace_back(piece.bytes);
    memory.read(piece.offset, bytes);
    piece.checksum = checksum_of(bytes);
  }
  return image;
}

void check_hdf5_view(const std::string& path, const Manifest& manifest) {
  const hdf5::Manners manners;
  for (const DatasetRecord& dataset : manifest.datasets) {
    const std::vector<StoredTensor> found = inspect_tensors(path, std::span(&dataset.name, 1));
    const bool same = found.size() == 1 && found[0].dtype == dataset.dtype && found[0].dims == dataset.shape &&
                      (dataset.space().bytes() == 0 || found[0].offset == dataset.offset);
    if (!same)
      throw InputError("/" + dataset.name + " in '" + path + "' is not the tensor that the manifest describes");
  }
}

}  // namespace annulus::checkpoint
