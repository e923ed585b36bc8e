"""Networks: tensors in, tensors out; none knows its loss, its site or its stage."""
