// What the attention kernels are given. Read by their host side too, so: plain types only.
#pragma once

struct AttentionArgs {
  const void *q, *k, *v;  // row 0, first column of head 0
  void* y;
  int q_stride, k_stride, v_stride, y_stride;  // elements from a row to the next
  int q_rows, k_rows;                          // over the whole batch; rows behind the last sequence hold nothing
  int batch;
  int heads;  // of queries
  int group;  // query heads that share one key and value head
  float scale;
  // Packed rows: sequence b has query rows q_offsets[b] .. q_offsets[b + 1] and key rows k_begin[b] .. k_end[b].
  const int *q_offsets, *k_begin, *k_end;
  int q_len, k_len;  // where q_offsets is null: b * q_len .. (b + 1) * q_len, and so the keys
  // Places of rows in the original sequence, for bias, causal and window; null: counted from the sequence's first row.
  const int *q_positions, *k_positions;
  const void* bias;
  long long bias_strides[4];  // over sequence, head, query and key position; 0 where it is broadcast
  bool backwards;             // from the last query rows to the first
};
