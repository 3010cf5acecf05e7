/// The rule "which keys does this query see", and what is counted from it.
// SPDX-License-Identifier: Apache-2.0
#include "runtime/layout/mask.hpp"

#include <algorithm>

#include "kernels/base/checked.hpp"
#include "kernels/base/error.hpp"

namespace annulus {
namespace {

void check_documents(const std::vector<std::int64_t>& cu_seqlens, std::int64_t seq_q, std::int64_t seq_k) {
  if (cu_seqlens.empty()) return;
  if (seq_q != seq_k) {
    throw UsageError("cu_seqlens with " + std::to_string(seq_q) + " queries and " + std::to_string(seq_k) +
                     " keys (documents share their positions); try equal lengths");
  }
  const auto drop = std::adjacent_find(cu_seqlens.begin(), cu_seqlens.end(), std::greater<>{});
  if (drop != cu_seqlens.end()) {
    throw UsageError("cu_seqlens decreases from " + std::to_string(*drop) + " to " + std::to_string(*(drop + 1)) +
                     " at entry " + std::to_string(drop + 1 - cu_seqlens.begin()) +
                     " (each entry is where a document begins); try sorted offsets");
  }
  if (cu_seqlens.front() != 0 || cu_seqlens.back() != seq_k) {
    throw UsageError("cu_seqlens runs from " + std::to_string(cu_seqlens.front()) + " to " +
                     std::to_string(cu_seqlens.back()) + " (documents must cover positions 0 to " +
                     std::to_string(seq_k) + ")");
  }
}

void check_sizes(const MaskSpec& spec) {
  const auto require = [](bool holds, const std::string& message) {
    if (!holds) throw UsageError(message);
  };
  const auto [left, right] = spec.window_size;
  require(left >= -1 && right >= -1,
          "window_size (" + std::to_string(left) + ", " + std::to_string(right) +
              ") is negative (a window counts tokens on each side); try 0 or more, or -1 for an open side");
  const auto not_negative = [&](const char* name, std::int64_t size) {
    require(size >= 0,
            std::string(name) + " " + std::to_string(size) + " is negative (it counts tokens); try 0 for none");
  };
  not_negative("chunk_size", spec.chunk_size);
  not_negative("sink_tokens", spec.sink_tokens);
  not_negative("global_tokens", spec.global_tokens);
  not_negative("stride", spec.stride);
  require(spec.is_local() || (spec.sink_tokens == 0 && spec.global_tokens == 0 && spec.stride == 0),
          "sink_tokens, global_tokens or stride without a window or chunk (all keys that they would add are visible "
          "anyway); try them with window_size or chunk_size");
}

/// Sizes beyond the sequences mean no more than these do.
MaskSpec bounded(const MaskSpec& spec, std::int64_t seq_q, std::int64_t seq_k) {
  checked_product({4, std::max(seq_q, seq_k)});
  return {.causal = spec.causal,
          .window_size = {std::min(spec.window_size.left, seq_k), std::min(spec.window_size.right, seq_q)},
          .chunk_size = std::min(spec.chunk_size, std::max<std::int64_t>({seq_q, seq_k, 1})),
          .sink_tokens = std::min(spec.sink_tokens, seq_k),
          .global_tokens = std::min(spec.global_tokens, seq_k),
          .stride = std::min(spec.stride, std::max<std::int64_t>(seq_q + seq_k, 1))};
}

std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }
std::int64_t mod(std::int64_t a, std::int64_t b) { return a - floor_div(a, b) * b; }

PosSpan cut(PosSpan keys, PosSpan range) {
  const std::int64_t begin = std::clamp(keys.begin, range.begin, range.end);
  return {begin, std::clamp(keys.end, begin, range.end)};
}

/// Pairs of the last `queries` of a document's tokens with its `keys`.
std::int64_t pairs_of(bool causal, std::int64_t queries, std::int64_t keys) {
  return causal ? queries * (2 * keys - queries + 1) / 2 : queries * keys;
}

/// sum over t in [0, count) of min(t, top), modulo 2^64: differences of such sums are right wherever they fit.
std::uint64_t sum_to(std::int64_t count, std::int64_t top) {
  const auto triangle = [](std::uint64_t x) { return x % 2 == 0 ? x / 2 * (x - 1) : (x - 1) / 2 * x; };
  if (count <= 0) return 0;
  const auto n = static_cast<std::uint64_t>(count);
  const auto limit = static_cast<std::uint64_t>(top);
  return n <= limit ? triangle(n) : triangle(limit) + (n - limit) * limit;
}

}  // namespace

Mask::Mask(MaskSpec spec, std::int64_t seq_q, std::int64_t seq_k)
    : spec_(std::move(spec)), seq_q_(seq_q), seq_k_(seq_k) {
  check_documents(spec_.cu_seqlens, seq_q, seq_k);
  check_sizes(spec_);
  sizes_ = bounded(spec_, seq_q, seq_k);
  prefix_ = std::max(sizes_.sink_tokens, sizes_.global_tokens);
}

PosSpan Mask::document(std::int64_t i) const {
  if (spec_.cu_seqlens.empty()) return {0, seq_k_};
  const auto end = std::upper_bound(spec_.cu_seqlens.begin(), spec_.cu_seqlens.end(), i);
  return {*(end - 1), *end};  // seq_q == seq_k, so i lies inside a document
}

PosSpan Mask::base_keys(std::int64_t i, PosSpan document) const {
  const std::int64_t end = sizes_.causal ? std::min(document.end, i + 1) : document.end;
  return {document.begin, std::max(end, document.begin)};
}

std::int64_t Mask::keys_end(std::int64_t q) const {
  const std::int64_t i = key_position(q);
  return std::max<std::int64_t>(base_keys(i, document(i)).end, 0);
}

/// Window and chunk, not cut to base. Contains i, and both ends grow with i.
PosSpan Mask::local_keys(std::int64_t i, PosSpan document) const {
  const auto [left, right] = sizes_.window_size;
  PosSpan keys{left < 0 ? std::min(i, document.begin) : i - left, right < 0 ? document.end : i + right + 1};
  if (sizes_.chunk_size > 0) {
    const std::int64_t chunk =
        document.begin + floor_div(i - document.begin, sizes_.chunk_size) * sizes_.chunk_size;
    keys = {std::max(keys.begin, chunk), std::min(keys.end, chunk + sizes_.chunk_size)};
  }
  return keys;
}

VisibleKeys Mask::visible_keys(std::int64_t q) const {
  const std::int64_t i = key_position(q);
  const PosSpan own = document(i);
  const PosSpan base = base_keys(i, own);
  if (prefix_ > 0 || sizes_.stride > 0) return with_extras(i, own, base);
  VisibleKeys keys;
  keys.local = cut(local_keys(i, own), base);
  return keys;
}

VisibleKeys Mask::with_extras(std::int64_t i, PosSpan document, PosSpan base) const {
  VisibleKeys keys;
  keys.local = cut(local_keys(i, document), base);
  keys.prefix = cut({document.begin, document.begin + prefix_}, base);
  const bool is_global = document.begin <= i && i < document.begin + sizes_.global_tokens;
  if (is_global) keys.prefix = base;
  if (keys.prefix.end >= keys.local.begin) {  // they touch: one range
    keys.local = {base.begin, std::max(keys.prefix.end, keys.local.end)};
    keys.prefix = {base.begin, base.begin};
  }
  if (sizes_.stride == 0) return keys;
  const auto strided = [&](std::int64_t begin, std::int64_t end) {
    return PosSpan{begin + mod(i - begin, sizes_.stride), end, sizes_.stride};
  };
  keys.before = strided(keys.prefix.end, keys.local.begin);
  keys.after = strided(keys.local.end, base.end);
  return keys;
}

/// Pairs with lowest <= j - i <= highest, which are what a window, causal and full leave.
std::int64_t Mask::pairs_in_band(std::int64_t queries, std::int64_t keys) const {
  const auto [left, right] = sizes_.window_size;
  const std::int64_t open_right = right < 0 ? queries : right;
  const std::int64_t highest = sizes_.causal ? 0 : open_right;
  const std::int64_t lowest = left < 0 ? -keys : -left;
  const auto pairs_up_to = [&](std::int64_t distance) {  // keys that query q sees: min(first + q, keys), not below 0
    const std::int64_t first = keys - queries + distance + 1;
    return sum_to(first + queries, keys) - sum_to(first, keys);
  };
  return static_cast<std::int64_t>(pairs_up_to(highest) - pairs_up_to(lowest - 1));
}

std::int64_t Mask::pairs_in_chunks(std::int64_t queries, std::int64_t keys) const {
  const std::int64_t size = sizes_.chunk_size;
  const std::int64_t first = std::max<std::int64_t>(keys - queries, 0);  // negative positions share no chunk with a key
  if (first >= keys) return 0;
  const std::int64_t begin = first / size * size;
  const std::int64_t end = std::min(begin + size, keys);
  const std::int64_t rest = keys - end;
  const std::int64_t whole = rest < size ? 0 : rest / size * pairs_of(sizes_.causal, size, size);
  return pairs_of(sizes_.causal, end - first, end - begin) + whole +
         pairs_of(sizes_.causal, rest % size, rest % size);
}

std::int64_t Mask::visible_pairs() const {
  checked_product({2, seq_q_, seq_k_});
  std::int64_t pairs = 0;
  if (prefix_ > 0 || sizes_.stride > 0 || (sizes_.window_size.is_set() && sizes_.chunk_size > 0)) {
    for (std::int64_t q = 0; q < seq_q_; ++q) pairs += visible_keys(q).count();
    return pairs;
  }
  const auto pairs_of_document = [this](std::int64_t queries, std::int64_t keys) {
    return sizes_.chunk_size > 0 ? pairs_in_chunks(queries, keys) : pairs_in_band(queries, keys);
  };
  if (spec_.cu_seqlens.empty()) return pairs_of_document(seq_q_, seq_k_);
  for (std::size_t d = 0; d + 1 < spec_.cu_seqlens.size(); ++d) {
    const std::int64_t length = spec_.cu_seqlens[d + 1] - spec_.cu_seqlens[d];
    pairs += pairs_of_document(length, length);
  }
  return pairs;
}

std::string Mask::describe() const {
  std::string text = spec_.causal ? "causal" : "full";
  const auto add = [&](bool set, const std::string& rule) {
    if (set) text += ", " + rule;
  };
  const auto number = [](std::int64_t value) { return std::to_string(value); };
  const auto [left, right] = spec_.window_size;
  add(spec_.window_size.is_set(), "window (" + number(left) + ", " + number(right) + ")");
  add(spec_.chunk_size > 0, "chunks of " + number(spec_.chunk_size));
  const auto some = [&](std::int64_t count, const char* what) { return number(count) + what + (count == 1 ? "" : "s"); };
  add(spec_.sink_tokens > 0, some(spec_.sink_tokens, " sink"));
  add(spec_.global_tokens > 0, some(spec_.global_tokens, " global token"));
  add(spec_.stride > 0, "stride " + number(spec_.stride));
  add(!spec_.cu_seqlens.empty(), std::to_string(spec_.cu_seqlens.size() - 1) + " documents");
  return text;
}

/// What queries at positions [first, last] of one document see: every rule's reach grows with the position.
void Mask::add_needed(std::int64_t first, std::int64_t last, PosSpan document, std::vector<PosSpan>& needed) const {
  const PosSpan base = base_keys(last, document);
  const auto add = [&](PosSpan keys) {
    keys = cut(keys, base);
    if (!keys.empty()) needed.push_back(keys);
  };
  if (sizes_.stride > 0) return add(base);
  const std::int64_t last_global = std::min(last, document.begin + sizes_.global_tokens - 1);
  if (last_global >= std::max(first, document.begin)) add(base_keys(last_global, document));
  add({document.begin, document.begin + prefix_});
  add({local_keys(first, document).begin, local_keys(last, document).end});
}

std::vector<PosSpan> needed_keys(const Mask& mask, PosSpan queries) {
  std::vector<PosSpan> found;
  const std::int64_t end = mask.key_position(queries.end);
  for (std::int64_t i = mask.key_position(queries.begin); i < end;) {
    const PosSpan document = mask.document(i);
    const std::int64_t next = std::min(end, document.end);
    mask.add_needed(i, next - 1, document, found);
    i = next;
  }
  std::sort(found.begin(), found.end(), [](const PosSpan& a, const PosSpan& b) { return a.begin < b.begin; });
  std::vector<PosSpan> needed;
  for (const PosSpan& keys : found) {
    if (needed.empty() || needed.back().end < keys.begin) {
      needed.push_back(keys);
    } else {
      needed.back().end = std::max(needed.back().end, keys.end);
    }
  }
  return needed;
}

}  // namespace annulus
