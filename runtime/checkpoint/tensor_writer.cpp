/// Reserve first, write independently, agree, rename last: a torn file never bears the real name.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "kernels/base/checked.hpp"
#include "runtime/checkpoint/hdf5_dtype.hpp"
#include "runtime/checkpoint/replaced_file.hpp"
#include "runtime/checkpoint/row_transfer.hpp"
#include "runtime/checkpoint/tensor_file.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus {
namespace {

using hdf5::check;
using hdf5::Context;

std::uint64_t bytes_of(const TensorInfo& info) {
  std::uint64_t bytes = size_of(info.dtype.value());
  for (const std::int64_t dim : info.dims) bytes = checked_product({static_cast<std::int64_t>(bytes), dim});
  return bytes;
}

/// Every rank must be able to open the file for itself before all of them open it together: there, one that cannot
/// would leave the others waiting.
void check_writable(const std::string& path) {
  const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (descriptor < 0)
    throw ResourceError("cannot write '" + path + "' (" + std::strerror(errno) + "); try another folder");
  close(descriptor);
}

hid_t create_dataset(hid_t file, const TensorInfo& info, const Context& context) {
  const std::vector<hsize_t> extents(info.dims.begin(), info.dims.end());
  const hdf5::Space space(check(H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), context,
                                "describe a dataset of"));
  const hdf5::Type type = hdf5::type_of(info.dtype.value(), hdf5::Place::file, context);
  const hdf5::Properties storage = hdf5::unfilled_storage(context);
  return check(H5Dcreate2(file, info.name.c_str(), type.get(), space.get(), H5P_DEFAULT, storage.get(), H5P_DEFAULT),
               context, "create a dataset in");
}

/// The file while it is written. Only close() closes it: once a write has failed, H5Fclose may wait for ranks that do
/// not come and MPI_Finalize crashes, so a failure abandons the file.
struct OpenFile {
  hid_t file = H5I_INVALID_HID;
  std::vector<hid_t> datasets;
};

}  // namespace

struct TensorWriter::Impl {
  Context context() const { return {ExitCode::resources, path}; }
  const TensorInfo& info(const std::string& name) const;
  OpenFile create() const;
  void reserve(const OpenFile& open) const;
  void put(hid_t dataset, const TensorPart& part) const;
  void close(const OpenFile& open) const;
  void fill(std::span<const TensorPart> parts) const;

  const Communicator* comm;
  std::string path;
  std::vector<TensorInfo> infos;
  std::unique_ptr<ReplacedFile> replaced;  ///< on rank 0
  std::string temporary;
};

const TensorInfo& TensorWriter::Impl::info(const std::string& name) const {
  for (const TensorInfo& info : infos) {
    if (info.name == name) return info;
  }
  throw Error(ExitCode::internal, "/" + name + " was not announced for '" + path + "'");
}

OpenFile TensorWriter::Impl::create() const {
  OpenFile open;
  const hdf5::Properties access = hdf5::parallel_access(comm->raw(), context());
  open.file = check(H5Fcreate(temporary.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), context(), "create");
  for (const TensorInfo& info : infos) open.datasets.push_back(create_dataset(open.file, info, context()));
  return open;
}

/// On rank 0: without this, a full disk would show as a failed write, which HDF5 does not survive.
void TensorWriter::Impl::reserve(const OpenFile& open) const {
  if (!replaced) return;
  hsize_t bytes = 0;
  check(H5Fget_filesize(open.file, &bytes), context(), "find the size of");
  replaced->reserve(bytes);
}

void TensorWriter::Impl::put(hid_t dataset, const TensorPart& part) const {
  const DType stored = info(part.name).dtype.value();
  if (const auto* tensor = std::get_if<ConstTensorView>(&part.data)) {
    hdf5::write_rows(dataset, stored, part.pieces, strided_rows(*tensor), context());
  } else if (const auto* stats = std::get_if<ConstRowStats>(&part.data)) {
    hdf5::write_rows(dataset, stored, part.pieces, strided_rows(*stats), context());
  } else if (replaced) {
    const auto& list = std::get<std::span<const float>>(part.data);
    check(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, list.data()), context(),
          "write a list of");
  }
}

void TensorWriter::Impl::close(const OpenFile& open) const {
  for (const hid_t dataset : open.datasets) check(H5Dclose(dataset), context(), "close a dataset of");
  check(H5Fclose(open.file), context(), "close");
}

/// Collective. Agrees after every step that a full disk or a lost file can stop, so that no rank is left alone in the
/// next one.
void TensorWriter::Impl::fill(std::span<const TensorPart> parts) const {
  try {
    OpenFile open;
    together(*comm, [&] { open = create(); });
    together(*comm, [&] { reserve(open); });
    together(*comm, [&] {
      for (const TensorPart& part : parts) {
        const auto at = static_cast<std::size_t>(&info(part.name) - infos.data());
        put(open.datasets[at], part);
      }
    });
    together(*comm, [&] { check(H5Fflush(open.file, H5F_SCOPE_GLOBAL), context(), "flush"); });
    together(*comm, [&] { close(open); });
  } catch (const Error& error) {
    throw DamagedFileError(error);
  }
}

TensorWriter::TensorWriter(const Communicator& comm, std::string path, std::vector<TensorInfo> datasets)
    : impl_(std::make_unique<Impl>()) {
  impl_->comm = &comm;
  impl_->path = std::move(path);
  impl_->infos = std::move(datasets);
  together(comm, [&] {
    if (comm.rank() != 0) return;
    auto file = std::make_unique<ReplacedFile>(impl_->path);
    std::uint64_t bytes = 0;
    for (const TensorInfo& info : impl_->infos) bytes += bytes_of(info);
    file->reserve(bytes);
    impl_->temporary = file->temporary();
    impl_->replaced = std::move(file);
  });
  comm.broadcast(impl_->temporary, 0);
  together(comm, [&] { check_writable(impl_->temporary); });
}

TensorWriter::~TensorWriter() = default;
TensorWriter::TensorWriter(TensorWriter&&) noexcept = default;

void TensorWriter::write(std::span<const TensorPart> parts) {
  const hdf5::Manners manners;
  impl_->fill(parts);
  together(*impl_->comm, [&] {
    if (impl_->replaced) impl_->replaced->commit();
  });
}

}  // namespace annulus
