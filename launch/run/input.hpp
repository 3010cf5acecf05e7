/// Where the first activations of a run come from: any file's bytes, or activations in an HDF5 file.
// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "runtime/checkpoint/tensor_file.hpp"
#include "runtime/comm/communicator.hpp"
#include "runtime/stack/stack.hpp"
#include "runtime/stack/token_file.hpp"

namespace annulus::launch {

/// What FILE or FILE.h5:/dataset names; the dataset is empty for any other file.
struct DatasetName {
  std::string path;
  std::string dataset;
};
DatasetName dataset_name(const std::string& words);

class RunInput {
 public:
  /// Collective. `words` is FILE or FILE.h5:/dataset. Throws InputError together.
  RunInput(const Communicator& world, const std::string& words);

  std::int64_t batch() const { return batch_; }
  std::int64_t seq_len() const { return seq_len_; }             ///< positions it has
  std::optional<std::int64_t> width() const { return width_; }  ///< empty: tokens, any width
  std::optional<DType> dtype() const { return dtype_; }         ///< as stored; empty: tokens

  /// Collective. Fills the stack's input activations at its input_rows().
  void load(const Communicator& world, stack::Stack& stack) const;

 private:
  void inspect_tensor(const Communicator& world, const std::string& path);
  void embed_tokens(stack::Stack& stack) const;

  std::string dataset_;
  std::unique_ptr<stack::TokenFile> tokens_;
  std::unique_ptr<TensorReader> tensor_;
  std::int64_t batch_ = 1;
  std::int64_t seq_len_ = 0;
  std::optional<std::int64_t> width_;
  std::optional<DType> dtype_;
};

}  // namespace annulus::launch
