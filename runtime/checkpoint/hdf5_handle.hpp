/// Owners of HDF5 identifiers, checked calls, and the manners HDF5 needs inside somebody else's program.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <hdf5.h>

#include <cstdio>
#include <source_location>
#include <string>

#include "runtime/checkpoint/hdf5_error.hpp"
#include "runtime/comm/handle.hpp"

namespace annulus::hdf5 {

template <herr_t (*Close)(hid_t)>
struct HidTraits {
  using Raw = hid_t;
  static Raw empty() { return H5I_INVALID_HID; }
  static void release(Raw raw) noexcept {
    if (Close(raw) < 0) std::fprintf(stderr, "annulus: an HDF5 object could not be closed\n");
  }
};
using File = Handle<HidTraits<H5Fclose>>;
using Dataset = Handle<HidTraits<H5Dclose>>;
using Space = Handle<HidTraits<H5Sclose>>;
using Type = Handle<HidTraits<H5Tclose>>;
using Properties = Handle<HidTraits<H5Pclose>>;

/// Whose fault a failing call is, and which file it is about.
struct Context {
  ExitCode code;
  const std::string& path;
};

/// HDF5 reports failure by a negative value of whatever type a call returns.
template <class Result>
Result check(Result result, const Context& context, const char* doing,
             std::source_location at = std::source_location::current()) {
  if (result < 0) throw Hdf5Error(context.code, doing, context.path, at);
  return result;
}

/// For the length of a call: HDF5 prints nothing itself and loads no plug-in that a file names. The host program's own
/// settings come back afterwards.
class Manners {
 public:
  Manners();
  ~Manners();
  Manners(const Manners&) = delete;
  Manners& operator=(const Manners&) = delete;

 private:
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
  unsigned plugins_ = 0;
};

/// Access by all ranks of `comm` through MPI-IO.
Properties parallel_access(MPI_Comm comm, const Context& context);
/// Transfers of one rank alone: collective ones hang when the disk is full (Open MPI 4.1) and need every rank.
Properties independent_transfer(const Context& context);
/// Contiguous, allocated when created, never filled: pieces land where they belong, and all space can be reserved.
Properties unfilled_storage(const Context& context);

}  // namespace annulus::hdf5
