/// Copies and converts, one contiguous line at a time.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/checkpoint/staged_rows.hpp"

#include <type_traits>

namespace annulus {
namespace {

template <class To, class From>
To converted(From x) {
  if constexpr (std::is_same_v<To, From>) {
    return x;
  } else if constexpr (std::is_same_v<From, double>) {
    return from_double<To>(x);
  } else {
    return from_float<To>(to_float(x));
  }
}

/// Calls line(offset in memory, offset in staging) for every contiguous line of `range`, both in elements.
template <class Byte, class Line>
void for_each_line(const StridedRows<Byte>& rows, RowRange range, Line&& line) {
  std::array<std::int64_t, 2> first{0, 0};
  std::array<std::int64_t, 2> count{rows.extent[1], rows.extent[2]};
  const auto axis = static_cast<std::size_t>(rows.row_axis - 1);
  first[axis] = range.row;
  count[axis] = range.rows;
  std::int64_t staged = 0;
  for (std::int64_t i = first[0]; i < first[0] + count[0]; ++i) {
    for (std::int64_t j = first[1]; j < first[1] + count[1]; ++j, staged += rows.extent[3]) {
      line(range.batch * rows.stride[0] + i * rows.stride[1] + j * rows.stride[2], staged);
    }
  }
}

}  // namespace

void unstage(const std::byte* staging, DType staged, RowRange range, const StridedRows<std::byte>& to) {
  with_dtype(staged, [&]<class From>(From) {
    with_dtype(to.dtype, [&]<class To>(To) {
      for_each_line(to, range, [&](std::int64_t memory, std::int64_t offset) {
        const From* const source = reinterpret_cast<const From*>(staging) + offset;
        To* const target = reinterpret_cast<To*>(to.data) + memory;
        for (std::int64_t i = 0; i < to.extent[3]; ++i) target[i] = converted<To>(source[i]);
      });
    });
  });
}

void stage(const StridedRows<const std::byte>& from, RowRange range, std::byte* staging, DType staged) {
  with_dtype(from.dtype, [&]<class From>(From) {
    with_dtype(staged, [&]<class To>(To) {
      for_each_line(from, range, [&](std::int64_t memory, std::int64_t offset) {
        const From* const source = reinterpret_cast<const From*>(from.data) + memory;
        To* const target = reinterpret_cast<To*>(staging) + offset;
        for (std::int64_t i = 0; i < from.extent[3]; ++i) target[i] = converted<To>(source[i]);
      });
    });
  });
}

}  // namespace annulus
