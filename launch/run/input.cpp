/// Opens and reads the input of a run, every rank its own rows.
// SPDX-License-Identifier: Apache-2.0
#include "launch/run/input.hpp"

#include <fmt/format.h>

#include <array>

#include "runtime/comm/agreement.hpp"
#include "runtime/stack/embedding.hpp"

namespace annulus::launch {

DatasetName dataset_name(const std::string& words) {
  const std::size_t at = words.rfind(":/");
  const bool named = at != std::string::npos && at >= 3 && words.compare(at - 3, 3, ".h5") == 0 && at + 2 < words.size();
  if (!named) return {words, ""};
  return {words.substr(0, at), words.substr(at + 2)};
}

RunInput::RunInput(const Communicator& world, const std::string& words) {
  const auto [path, dataset] = dataset_name(words);
  dataset_ = dataset;
  if (!dataset_.empty()) {
    inspect_tensor(world, path);
    return;
  }
  together(world, [&] { tokens_ = std::make_unique<stack::TokenFile>(path); });
  seq_len_ = tokens_->size();
}

void RunInput::inspect_tensor(const Communicator& world, const std::string& path) {
  const std::array names{dataset_};
  tensor_ = std::make_unique<TensorReader>(world, path, names);
  const TensorInfo* info = tensor_->find(dataset_);
  if (info == nullptr) throw InputError(fmt::format("{} has no dataset /{} (the input of the run)", path, dataset_));
  if (info->dims.size() != 3 || !info->dtype || info->dims[0] < 1 || info->dims[1] < 1 || info->dims[2] < 1) {
    throw InputError(fmt::format("/{} in {} does not hold activations (they are floating-point [batch, seq, width], "
                                 "none of them 0); try another dataset",
                                 dataset_, path));
  }
  batch_ = info->dims[0];
  seq_len_ = info->dims[1];
  width_ = info->dims[2];
  dtype_ = info->dtype;
}

void RunInput::load(const Communicator& world, stack::Stack& stack) const {
  together(world, [&] {
    if (tokens_) return embed_tokens(stack);
    const AttentionSpec& spec = stack.model().attention;
    const TensorView x =
        dense_view(stack.input().data(), spec.dtype, spec.batch, stack.input_rows().rows(), 1, stack.model().width());
    tensor_->read(dataset_, stack.input_rows().pieces(), x);
  });
}

void RunInput::embed_tokens(stack::Stack& stack) const {
  const stack::ModelSpec& model = stack.model();
  const Buffer<float> table = stack::embedding_table(model, stack.workers());
  tokens_->read(stack.input_rows(), [&](std::int64_t first_row, std::span<const std::uint8_t> tokens) {
    stack::embed(table.data(), model.width(), tokens, first_row, model.attention.dtype, stack.input().data());
  });
}

}  // namespace annulus::launch
