/// Rank 0 inspects, all ranks believe it, each reads its own rows.
// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iomanip>
#include <sstream>

#include "kernels/base/buffer.hpp"
#include "runtime/checkpoint/hdf5_dtype.hpp"
#include "runtime/checkpoint/input_check.hpp"
#include "runtime/checkpoint/row_transfer.hpp"
#include "runtime/checkpoint/tensor_file.hpp"
#include "runtime/comm/agreement.hpp"

namespace annulus {
namespace {

using hdf5::check;
using hdf5::Context;

/// Lists longer than this are no per-head or per-document lists.
constexpr std::int64_t longest_list = std::int64_t{1} << 27;

/// "name dtype rank extents..." per dataset, for the broadcast.
std::string encode(const std::vector<StoredTensor>& infos) {
  std::ostringstream text;
  for (const TensorInfo& info : infos) {
    text << std::quoted(info.name) << ' ' << (info.dtype ? name(*info.dtype) : "integer") << ' ' << info.dims.size();
    for (const std::int64_t dim : info.dims) text << ' ' << dim;
    text << '\n';
  }
  return text.str();
}

std::vector<TensorInfo> decode(const std::string& text) {
  std::vector<TensorInfo> infos;
  std::istringstream words(text);
  TensorInfo info;
  std::string dtype;
  for (std::size_t rank = 0; words >> std::quoted(info.name) >> dtype >> rank;) {
    info.dtype = parse_dtype(dtype);
    info.dims.resize(rank);
    for (std::int64_t& dim : info.dims) words >> dim;
    infos.push_back(info);
  }
  return infos;
}

/// Collective. What rank 0 finds in the file.
std::vector<TensorInfo> inspect_together(const Communicator& comm, const std::string& path,
                                         std::span<const std::string> names) {
  std::string text;
  agree(comm, verdict_of([&] {
          if (comm.rank() == 0) text = encode(inspect_tensors(path, names));
        }));
  comm.broadcast(text, 0);
  return decode(text);
}

}  // namespace

struct TensorReader::Impl {
  Context context() const { return {ExitCode::input, path}; }
  const TensorInfo& info(const std::string& name) const;
  const TensorInfo& list(const std::string& name) const;
  hdf5::Dataset open(const std::string& name) const {
    return hdf5::Dataset(check(H5Dopen2(file.get(), name.c_str(), H5P_DEFAULT), context(), "open a dataset in"));
  }

  std::string path;
  std::vector<TensorInfo> infos;
  hdf5::File file;
};

const TensorInfo& TensorReader::Impl::info(const std::string& name) const {
  const auto found = std::find_if(infos.begin(), infos.end(), [&](const TensorInfo& i) { return i.name == name; });
  if (found == infos.end()) throw InputError("'" + path + "' has no dataset /" + name);
  return *found;
}

const TensorInfo& TensorReader::Impl::list(const std::string& name) const {
  const TensorInfo& found = info(name);
  if (found.dims.size() != 1) throw InputError("/" + name + " in '" + path + "' is no list (one dimension is wanted)");
  if (found.dims[0] > longest_list) throw InputError("/" + name + " in '" + path + "' is longer than 2^27 values");
  return found;
}

TensorReader::TensorReader(const Communicator& comm, const std::string& path, std::span<const std::string> names)
    : impl_(std::make_unique<Impl>()) {
  const hdf5::Manners manners;
  impl_->path = path;
  impl_->infos = inspect_together(comm, path, names);
  // Each rank opens the file for itself: reading then needs nobody, and one rank's failure cannot make others wait.
  together(comm, [&] {
    check_readable(path);
    const hdf5::Properties access = hdf5::parallel_access(MPI_COMM_SELF, impl_->context());
    impl_->file = hdf5::File(check(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access.get()), impl_->context(), "open"));
  });
}

TensorReader::~TensorReader() = default;
TensorReader::TensorReader(TensorReader&&) noexcept = default;

const TensorInfo* TensorReader::find(const std::string& name) const {
  const auto& infos = impl_->infos;
  const auto found =
      std::find_if(infos.begin(), infos.end(), [&](const TensorInfo& info) { return info.name == name; });
  return found == infos.end() ? nullptr : &*found;
}

void TensorReader::read(const std::string& name, std::span<const Piece> pieces, const TensorView& to) const {
  const hdf5::Manners manners;
  const TensorInfo& info = impl_->info(name);
  const std::vector<std::int64_t>& dims = info.dims;
  const bool fits = (dims.size() == 4 && dims[0] == to.batch && dims[2] == to.heads && dims[3] == to.head_dim) ||
                    (dims.size() == 3 && dims[0] == to.batch && to.heads == 1 && dims[2] == to.head_dim);
  if (!fits || !info.dtype) throw InputError("/" + name + " in '" + impl_->path + "' has not the shape or type wanted");
  hdf5::read_rows(impl_->open(name).get(), *info.dtype, pieces, strided_rows(to), impl_->context());
}

std::vector<std::int64_t> TensorReader::read_integers(const std::string& name) const {
  const hdf5::Manners manners;
  const TensorInfo& info = impl_->list(name);
  if (info.dtype) throw InputError("/" + name + " in '" + impl_->path + "' holds no integers; try int32 or int64");
  std::vector<std::int64_t> values(static_cast<std::size_t>(info.dims[0]));
  check(H5Dread(impl_->open(name).get(), H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
        impl_->context(), "read a list of");
  return values;
}

std::vector<float> TensorReader::read_floats(const std::string& name) const {
  const hdf5::Manners manners;
  const TensorInfo& info = impl_->list(name);
  if (!info.dtype) throw InputError("/" + name + " in '" + impl_->path + "' holds integers; try f32");
  const hdf5::Type type = hdf5::type_of(*info.dtype, hdf5::Place::memory, impl_->context());
  const Buffer<std::byte> raw(info.dims[0] * static_cast<std::int64_t>(size_of(*info.dtype)));
  check(H5Dread(impl_->open(name).get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, raw.data()), impl_->context(),
        "read a list of");
  std::vector<float> values(static_cast<std::size_t>(info.dims[0]));
  const auto to = dense_view(reinterpret_cast<std::byte*>(values.data()), DType::f32, 1, info.dims[0], 1, 1);
  unstage(raw.data(), *info.dtype, {0, 0, info.dims[0]}, strided_rows(to));
  return values;
}

std::string hdf5_version() {
  unsigned major = 0;
  unsigned minor = 0;
  unsigned release = 0;
  H5get_libversion(&major, &minor, &release);
  return std::to_string(major) + "." + std::to_string(minor) + "." + std::to_string(release);
}

}  // namespace annulus
