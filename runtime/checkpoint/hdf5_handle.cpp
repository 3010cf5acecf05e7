/// Property lists and error text of HDF5.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/hdf5_handle.hpp"

namespace annulus {
namespace {

/// The innermost entry of HDF5's error stack is the reason; what surrounds it is the way there.
herr_t keep_innermost(unsigned n, const H5E_error2_t* entry, void* text) {
  if (n == 0 && entry->desc != nullptr) *static_cast<std::string*>(text) = entry->desc;
  return 0;
}

std::string reason() {
  std::string text;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &text);
  return text.empty() ? "HDF5 gives no reason" : text;
}

/// Compilers report absolute paths or relative ones; the name alone says which room of ours it is.
std::string file_of(const std::source_location& at) {
  const std::string path = at.file_name();
  return path.substr(path.find_last_of('/') + 1);
}

}  // namespace

Hdf5Error::Hdf5Error(ExitCode code, const std::string& doing, const std::string& path, std::source_location at)
    : Error(code, "cannot " + doing + " '" + path + "' (" + reason() + "; " + file_of(at) + ":" +
                      std::to_string(at.line()) + ")") {}

namespace hdf5 {

Manners::Manners() {
  H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
  H5PLget_loading_state(&plugins_);
  H5PLset_loading_state(0);
}

Manners::~Manners() {
  H5PLset_loading_state(plugins_);
  H5Eset_auto2(H5E_DEFAULT, print_, print_data_);
}

Properties parallel_access(MPI_Comm comm, const Context& context) {
  Properties access(check(H5Pcreate(H5P_FILE_ACCESS), context, "set up access to"));
  check(H5Pset_fapl_mpio(access.get(), comm, MPI_INFO_NULL), context, "set up parallel access to");
  return access;
}

Properties independent_transfer(const Context& context) {
  Properties transfer(check(H5Pcreate(H5P_DATASET_XFER), context, "set up transfers of"));
  check(H5Pset_dxpl_mpio(transfer.get(), H5FD_MPIO_INDEPENDENT), context, "set up independent transfers of");
  return transfer;
}

Properties unfilled_storage(const Context& context) {
  Properties storage(check(H5Pcreate(H5P_DATASET_CREATE), context, "describe a dataset of"));
  check(H5Pset_layout(storage.get(), H5D_CONTIGUOUS), context, "lay out a dataset of");
  check(H5Pset_alloc_time(storage.get(), H5D_ALLOC_TIME_EARLY), context, "lay out a dataset of");
  check(H5Pset_fill_time(storage.get(), H5D_FILL_TIME_NEVER), context, "lay out a dataset of");
  return storage;
}

}  // namespace hdf5
}  // namespace annulus
