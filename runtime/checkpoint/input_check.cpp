/// Trusts nothing that a file says about itself before it is checked.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/input_check.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "kernels/base/checked.hpp"
#include "runtime/checkpoint/hdf5_dtype.hpp"
#include "runtime/checkpoint/hdf5_handle.hpp"

namespace annulus {
namespace {

using hdf5::check;
using hdf5::Context;

[[noreturn]] void refuse(const std::string& path, const std::string& problem) {
  throw InputError("cannot read '" + path + "' (" + problem + "); try another file");
}

[[noreturn]] void refuse_dataset(const std::string& path, const std::string& name, const std::string& problem) {
  throw InputError("/" + name + " in '" + path + "' " + problem);
}

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "it is a directory";
  if (S_ISFIFO(mode)) return "it is a pipe, which cannot be read at any place";
  return "it is no regular file";
}

/// A dataset's own claims about where its bytes are.
void check_storage(hid_t dataset, const TensorInfo& info, std::size_t element_bytes, std::uint64_t file_bytes,
                   const Context& context) {
  const hdf5::Properties created(check(H5Dget_create_plist(dataset), context, "find how a dataset is stored in"));
  if (check(H5Pget_external_count(created.get()), context, "look for external storage of") > 0) {
    refuse_dataset(context.path, info.name,
                   "keeps its data in other files (which could be any file); try copying them in");
  }
  const H5D_layout_t layout = check(H5Pget_layout(created.get()), context, "find how a dataset is stored in");
  if (layout == H5D_VIRTUAL) {
    refuse_dataset(context.path, info.name, "is virtual (its data are in other files); try copying them in");
  }
  std::uint64_t bytes = static_cast<std::uint64_t>(element_bytes);
  for (const std::int64_t dim : info.dims) {
    bytes = checked_product({static_cast<std::int64_t>(bytes), dim});
  }
  const haddr_t begin = H5Dget_offset(dataset);
  if (layout == H5D_CONTIGUOUS && bytes > 0 &&
      (begin == HADDR_UNDEF || begin > file_bytes || bytes > file_bytes - begin)) {
    refuse_dataset(context.path, info.name, "claims " + std::to_string(bytes) + " bytes that the file does not hold");
  }
  const int filters = check(H5Pget_nfilters(created.get()), context, "list the filters of");
  for (int i = 0; i < filters; ++i) {
    std::size_t no_values = 0;
    unsigned flags = 0;
    const H5Z_filter_t filter =
        check(H5Pget_filter2(created.get(), static_cast<unsigned>(i), &flags, &no_values, nullptr, 0, nullptr, nullptr),
              context, "list the filters of");
    if (H5Zfilter_avail(filter) <= 0) {
      refuse_dataset(context.path, info.name, "is compressed by a filter that this HDF5 lacks; try storing it plain");
    }
  }
}

std::vector<std::int64_t> dims_of(hid_t dataset, const std::string& name, const Context& context) {
  const hdf5::Space space(check(H5Dget_space(dataset), context, "find the extents in"));
  const int rank = check(H5Sget_simple_extent_ndims(space.get()), context, "find the extents in");
  std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
  check(H5Sget_simple_extent_dims(space.get(), extents.data(), nullptr), context, "find the extents in");
  std::vector<std::int64_t> dims;
  for (const hsize_t extent : extents) {
    if (extent > static_cast<hsize_t>(std::numeric_limits<std::int64_t>::max())) {
      refuse_dataset(context.path, name, "has an extent beyond 63 bits");
    }
    dims.push_back(static_cast<std::int64_t>(extent));
  }
  return dims;
}

/// True if every part of the name is a hard link; anything else could lead to any file.
bool has_hard_links(hid_t file, const std::string& name, const Context& context) {
  for (std::size_t end = 0; end != std::string::npos;) {
    end = name.find('/', end + 1);
    const std::string part = name.substr(0, end);
    if (check(H5Lexists(file, part.c_str(), H5P_DEFAULT), context, "look up a dataset in") == 0) return false;
    H5L_info_t link{};
    check(H5Lget_info(file, part.c_str(), &link, H5P_DEFAULT), context, "look up a link in");
    if (link.type != H5L_TYPE_HARD) {
      refuse_dataset(context.path, part,
                     "is a link to somewhere else (which could be any file); try storing the dataset itself");
    }
  }
  return true;
}

StoredTensor inspect(hid_t file, const std::string& name, std::uint64_t file_bytes, const Context& context) {
  H5O_info_t object{};
  check(H5Oget_info_by_name(file, name.c_str(), &object, H5P_DEFAULT), context, "look up a dataset in");
  if (object.type != H5O_TYPE_DATASET) refuse_dataset(context.path, name, "is no dataset");
  const hdf5::Dataset dataset(check(H5Dopen2(file, name.c_str(), H5P_DEFAULT), context, "open a dataset in"));
  const hdf5::Type type(check(H5Dget_type(dataset.get()), context, "find an element type in"));
  StoredTensor info{{name, hdf5::dtype_of(type.get()), dims_of(dataset.get(), name, context)}, std::nullopt};
  if (!info.dtype && !hdf5::is_signed_integer(type.get())) {
    refuse_dataset(context.path, name,
                   "has an unknown element type; try f32, f16, bf16 or f64 (int32 or int64 for lists)");
  }
  check_storage(dataset.get(), info, H5Tget_size(type.get()), file_bytes, context);
  if (const haddr_t offset = H5Dget_offset(dataset.get()); offset != HADDR_UNDEF) info.offset = offset;
  return info;
}

}  // namespace

std::uint64_t check_readable(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) refuse(path, std::strerror(errno));
  if (!S_ISREG(status.st_mode)) refuse(path, kind_of(status.st_mode));
  if (status.st_size == 0) refuse(path, "it is empty");
  const int descriptor = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (descriptor < 0) refuse(path, std::strerror(errno));
  close(descriptor);
  return static_cast<std::uint64_t>(status.st_size);
}

std::vector<StoredTensor> inspect_tensors(const std::string& path, std::span<const std::string> names) {
  const Context context{ExitCode::input, path};
  const std::uint64_t file_bytes = check_readable(path);
  // Through MPI-IO on this process alone: the plain driver takes a file lock, which some network file systems refuse.
  const hdf5::Properties access = hdf5::parallel_access(MPI_COMM_SELF, context);
  const hdf5::File file(check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), context, "open as an HDF5 file"));
  std::vector<StoredTensor> found;
  for (const std::string& name : names) {
    if (has_hard_links(file.get(), name, context)) found.push_back(inspect(file.get(), name, file_bytes, context));
  }
  return found;
}

}  // namespace annulus
