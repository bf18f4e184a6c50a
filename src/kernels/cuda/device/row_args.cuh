// What the kernels on rows are given. Read by their host sides too, so: plain types only.
#pragma once

struct NormArgs {
  const void *x = nullptr, *gamma = nullptr, *beta = nullptr, *residual = nullptr;
  void* y = nullptr;
  int rows = 0;
  float epsilon = 0;
};

struct EmbeddingArgs {
  static constexpr int kMostTables = 8, kMostAxes = 8;
  struct Table {
    const void *ids = nullptr, *rows = nullptr;
    int wide = 0;                 // ids are i64, otherwise i32
    int count = 0;                // rows
    int strides[kMostAxes] = {};  // of ids, over the axes below
  };
  Table tables[kMostTables] = {};
  const void *gamma = nullptr, *beta = nullptr;
  void* y = nullptr;
  int rows = 0;
  float epsilon = 0;
  int rank = 0, sizes[kMostAxes] = {};  // the rows of y as a grid that ids broadcast to
};

struct ReduceRowsArgs {
  const void* x = nullptr;
  void* y = nullptr;
  int rows = 0;
  long long size = 0;
};

// y[o, i] = reduction of x[r, i] over the rows r of segment o.
struct ReduceColumnsArgs {
  const void* x = nullptr;
  void* y = nullptr;
  int segments = 0, rows = 0, width = 0;
  long long size = 0;  // rows of every segment, where begin is null
  const int *begin = nullptr, *end = nullptr;
};
