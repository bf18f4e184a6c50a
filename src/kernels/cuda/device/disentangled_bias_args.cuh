// What the kernel of disentangled_bias is given. Read by its host side too, so: plain types only.
#pragma once

struct DisentangledBiasArgs {
  struct Side {                   // queries, or keys
    const void* rows = nullptr;   // row 0, first column of head 0
    int stride = 0;               // elements from a row to the next
    const void* table = nullptr;  // [table_rows, heads * HEAD_DIM]; null: this side adds nothing
    const int* index = nullptr;   // [q_len, k_len]
    int table_rows = 0;
    const int* positions = nullptr;  // null: counted from the sequence's first row
  } q, k;
  void* y = nullptr;  // [batch, heads, q_len, k_len]
  // Packed rows: sequence b has query rows q_offsets[b] .. q_offsets[b + 1] and key rows k_begin[b] .. k_end[b].
  const int *q_offsets = nullptr, *k_begin = nullptr,
            *k_end = nullptr;  // null: b * q_len .. (b + 1) * q_len, and so the keys
  int q_len = 0, k_len = 0, heads = 0;
  int q_tiles = 0, k_parts = 0;  // blocks of a head of a sequence: tiles of queries, each shared by so many
  float scale = 1;
};
