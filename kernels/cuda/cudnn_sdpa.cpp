/// cuDNN fuses what it recognises: the operations, their order and the types between them follow the patterns of its developer
/// guide ("Fused Flash Attention fprop" and "bprop").
// SPDX-License-Identifier: Apache-2.0
#include "kernels/cuda/cudnn_sdpa.hpp"

namespace annulus::kernels::cuda::cudnn {
namespace {

/// The forms of one attention, and operations whose results lie between others.
class Sdpa {
 public:
  Sdpa(Graph& graph, const PeerShape& shape) : graph_(graph), shape_(shape) {}

  Form rows() const {
    const std::int64_t width = shape_.heads * shape_.head_dim;
    return {{shape_.batch, shape_.heads, shape_.rows, shape_.head_dim},
            {shape_.rows * width, shape_.head_dim, width, 1}};
  }
  Form scores() const { return Form::dense({shape_.batch, shape_.heads, shape_.rows, shape_.rows}); }
  Form one_per_row() const { return Form::dense({shape_.batch, shape_.heads, shape_.rows, 1}); }
  Element element() const { return shape_.dtype == DType::f16 ? Element::f16 : Element::bf16; }

  Tensor tensor(const Form& form) { return graph_.real(element(), form); }
  Tensor row_numbers() { return graph_.real(Element::f32, one_per_row()); }

  Tensor product(Tensor a, Tensor b) {
    const Tensor c = graph_.between(Element::f32, scores());
    graph_.matmul(a, b, c);
    return c;
  }
  Tensor pointwise(Pointwise mode, Tensor x, Tensor b, const Form& form, Element type = Element::f32) {
    const Tensor y = graph_.between(type, form);
    graph_.pointwise(mode, x, b, y);
    return y;
  }
  Tensor reduced(Reduction mode, Tensor x) {
    const Tensor y = graph_.between(Element::f32, one_per_row());
    graph_.reduce(mode, x, y);
    return y;
  }
  Tensor viewed(Tensor x, Element type, const Form& form) {
    const Tensor y = graph_.between(type, form);
    graph_.view(x, y);
    return y;
  }

  /// scale * q k^T, -infinity where causality hides it.
  Tensor masked_scores(SdpaTensors& tensors) {
    tensors.scale = graph_.number();
    Tensor s = product(tensors.q, tensors.k);
    s = pointwise(Pointwise::multiply, s, tensors.scale, scores());
    if (!shape_.causal) return s;
    tensors.lowest = graph_.number();
    const Tensor row = pointwise(Pointwise::row_index, s, -1, scores(), Element::i32);
    const Tensor column = pointwise(Pointwise::column_index, s, -1, scores(), Element::i32);
    const Tensor seen = pointwise(Pointwise::at_least, row, column, scores(), Element::boolean);
    const Tensor masked = graph_.between(Element::f32, scores());
    graph_.pointwise(Pointwise::select, s, tensors.lowest, masked, seen);
    return masked;
  }

 private:
  Graph& graph_;
  const PeerShape& shape_;
};

/// dP - delta times P, scaled: in the shape of the scores.
Tensor score_gradient(Sdpa& sdpa, const SdpaTensors& tensors, Tensor p) {
  Tensor ds = sdpa.product(tensors.dout, tensors.v);
  ds = sdpa.pointwise(Pointwise::subtract, ds, tensors.delta, sdpa.scores());
  ds = sdpa.pointwise(Pointwise::multiply, ds, p, sdpa.scores());
  return sdpa.pointwise(Pointwise::multiply, ds, tensors.scale, sdpa.scores());
}

}  // namespace

SdpaTensors add_forward(Graph& graph, const PeerShape& shape) {
  Sdpa sdpa(graph, shape);
  SdpaTensors tensors;
  tensors.q = sdpa.tensor(sdpa.rows());
  tensors.k = sdpa.tensor(sdpa.rows().transposed());
  tensors.v = sdpa.tensor(sdpa.rows());
  tensors.out = sdpa.tensor(sdpa.rows());
  tensors.stats = sdpa.row_numbers();
  const Tensor s = sdpa.masked_scores(tensors);
  const Tensor most = sdpa.reduced(Reduction::max, s);
  const Tensor shifted = sdpa.pointwise(Pointwise::subtract, s, most, sdpa.scores());
  const Tensor exponentials = sdpa.pointwise(Pointwise::exp, shifted, -1, sdpa.scores());
  const Tensor sum = sdpa.reduced(Reduction::sum, exponentials);
  const Tensor log = sdpa.pointwise(Pointwise::log, sum, -1, sdpa.one_per_row());
  graph.pointwise(Pointwise::add, most, log, tensors.stats);
  const Tensor p = sdpa.pointwise(Pointwise::divide, exponentials, sum, sdpa.scores(), sdpa.element());
  graph.matmul(p, tensors.v, tensors.out);
  return tensors;
}

SdpaTensors add_backward(Graph& graph, const PeerShape& shape) {
  Sdpa sdpa(graph, shape);
  SdpaTensors tensors;
  tensors.q = sdpa.tensor(sdpa.rows());
  tensors.k = sdpa.tensor(sdpa.rows().transposed());
  tensors.v = sdpa.tensor(sdpa.rows().transposed());
  for (Tensor* const tensor : {&tensors.out, &tensors.dout, &tensors.dq, &tensors.dk, &tensors.dv}) {
    *tensor = sdpa.tensor(sdpa.rows());
  }
  tensors.stats = sdpa.row_numbers();
  tensors.delta = sdpa.row_numbers();
  tensors.one = graph.number();
  tensors.dq_sum = graph.real(Element::f32, Form::dense(sdpa.rows().dims));

  const Tensor products = sdpa.pointwise(Pointwise::multiply, tensors.dout, tensors.out, Form::dense(sdpa.rows().dims));
  graph.pointwise(Pointwise::multiply, sdpa.reduced(Reduction::sum, products), tensors.one, tensors.delta);

  const Tensor s = sdpa.masked_scores(tensors);
  const Tensor shifted = sdpa.pointwise(Pointwise::subtract, s, tensors.stats, sdpa.scores());
  const Tensor p = sdpa.pointwise(Pointwise::exp, shifted, -1, sdpa.scores());
  graph.matmul(sdpa.viewed(p, sdpa.element(), sdpa.scores().transposed()), tensors.dout, tensors.dv);

  const Tensor ds = score_gradient(sdpa, tensors, p);
  graph.matmul(sdpa.viewed(ds, sdpa.element(), sdpa.scores().transposed()), tensors.q, tensors.dk);
  graph.matmul(ds, sdpa.viewed(tensors.k, sdpa.element(), sdpa.rows()), tensors.dq_sum);
  graph.pointwise(Pointwise::identity, tensors.dq_sum, -1, tensors.dq);
  return tensors;
}

}  // namespace annulus::kernels::cuda::cudnn
