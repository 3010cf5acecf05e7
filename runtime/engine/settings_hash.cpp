/// Settings as bytes, hashed once.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/engine/settings_hash.hpp"

#include <xxhash.h>

#include <bit>
#include <span>
#include <vector>

namespace annulus {
namespace {

/// Values in the order given; lists are preceded by their length, so that no two settings share their bytes.
class Words {
 public:
  void add(std::int64_t value) { words_.push_back(static_cast<std::uint64_t>(value)); }
  void add(double value) { words_.push_back(std::bit_cast<std::uint64_t>(value)); }
  template <class Range>
  void add_all(const Range& values) {
    add(static_cast<std::int64_t>(std::size(values)));
    for (const auto value : values) {
      if constexpr (std::is_floating_point_v<std::remove_cv_t<decltype(value)>>) {
        add(static_cast<double>(value));
      } else {
        add(static_cast<std::int64_t>(value));
      }
    }
  }
  std::uint64_t hash() const { return XXH64(words_.data(), words_.size() * sizeof(std::uint64_t), 0); }

 private:
  std::vector<std::uint64_t> words_;
};

}  // namespace

std::uint64_t settings_hash(const AttentionSpec& spec, LayoutSpec layout, std::string_view backend, const Execution& execution) {
  Words words;
  for (const std::int64_t extent : {spec.batch, spec.seq_q, spec.seq_k, spec.heads, spec.kv_heads, spec.head_dim}) {
    words.add(extent);
  }
  words.add(static_cast<std::int64_t>(spec.dtype));
  words.add(std::int64_t{spec.mask.causal});
  for (const std::int64_t size : {spec.mask.window_size.left, spec.mask.window_size.right, spec.mask.chunk_size,
                                  spec.mask.sink_tokens, spec.mask.global_tokens, spec.mask.stride}) {
    words.add(size);
  }
  words.add_all(spec.mask.cu_seqlens);
  words.add(std::int64_t{spec.softmax_scale.has_value()});
  words.add(spec.softmax_scale.value_or(0));
  words.add(spec.softcap);
  words.add_all(spec.alibi_slopes);
  words.add(std::int64_t{spec.sink});
  words.add(static_cast<std::int64_t>(layout.kind));
  words.add(layout.stripe);
  words.add_all(backend);
  words.add(static_cast<std::int64_t>(execution.exchange));
  words.add(std::int64_t{execution.group_size});
  words.add(std::int64_t{execution.deterministic});
  return words.hash();
}

std::uint64_t call_hash(std::uint64_t settings, kernels::Direction direction, std::uint64_t calls) {
  Words words;
  words.add(static_cast<std::int64_t>(settings));
  words.add(static_cast<std::int64_t>(direction));
  words.add(static_cast<std::int64_t>(calls));
  return words.hash();
}

}  // namespace annulus
