// What Python hands over as arrays: tables, and buffers with a row for each slot, checked before anything is written.

#ifndef CRAFTER_BUFFERS_H_
#define CRAFTER_BUFFERS_H_

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "render.h"
#include "vector.h"

namespace crafter {

namespace nb = nanobind;

template <typename T>
using Table = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;

template <typename T>
std::vector<T> to_vector(const Table<T>& table) {
  return std::vector<T>(table.data(), table.data() + table.size());
}

// The shape of one slot's row.
struct Row {
  int axes = 0;
  Py_ssize_t sizes[3] = {};
};

// A Python buffer with one row of a certain shape for each of `count` slots; rows have no gaps, but may lie apart.
class Buffer {
 public:
  Buffer(nb::handle object, const char* name, char kind, size_t item_bytes, Py_ssize_t count, const Row& row,
         bool writeable) {
    const int flags = PyBUF_STRIDES | PyBUF_FORMAT | (writeable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(object.ptr(), &view_, flags) != 0) {
      PyErr_Clear();
      fail(name, writeable ? "needs a writeable array" : "needs an array");
    }
    held_ = true;
    if (static_cast<size_t>(view_.itemsize) != item_bytes || !is_kind(kind)) fail(name, "wrong dtype");
    if (view_.ndim != 1 + row.axes || view_.shape[0] != count ||
        !std::equal(row.sizes, row.sizes + row.axes, view_.shape + 1)) {
      fail(name, "wrong shape");
    }
    Py_ssize_t inner = view_.itemsize;
    for (int axis = view_.ndim - 1; axis > 0; --axis) {
      if (view_.shape[axis] > 1 && view_.strides[axis] != inner) fail(name, "must be contiguous along a row");
      inner *= view_.shape[axis];
    }
    if (writeable && count > 1 && std::abs(view_.strides[0]) < inner) fail(name, "rows overlap");
  }
  ~Buffer() {
    if (held_) PyBuffer_Release(&view_);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  Rows rows() const { return {static_cast<uint8_t*>(view_.buf), view_.strides[0]}; }

 private:
  [[noreturn]] void fail(const char* name, const char* what) {
    if (held_) PyBuffer_Release(&view_);
    held_ = false;
    throw nb::buffer_error((std::string(name) + ": " + what).c_str());
  }
  // Codes of the struct module: B, f, ?, and the two that are an int64.
  bool is_kind(char kind) const {
    const char* format = view_.format == nullptr ? "B" : view_.format;
    if (std::strlen(format) != 1) return false;
    return kind == 'q' ? *format == 'q' || *format == 'l' : *format == kind;
  }

  Py_buffer view_{};
  bool held_ = false;
};

// The arrays of an observation.
class ObservationBuffers {
 public:
  ObservationBuffers(const nb::tuple& arrays, bool symbolic, int num_items, Py_ssize_t count) {
    if (arrays.size() != (symbolic ? 3u : 1u)) throw nb::buffer_error("observation: wrong number of arrays");
    if (symbolic) {
      parts_[0].emplace(arrays[0], "view", 'B', 1, count, Row{3, {2, kViewX, kViewY}}, true);
      parts_[1].emplace(arrays[1], "inventory", 'B', 1, count, Row{1, {num_items}}, true);
      parts_[2].emplace(arrays[2], "daylight", 'f', sizeof(float), count, Row{1, {1}}, true);
    } else {
      parts_[0].emplace(arrays[0], "pixels", 'B', 1, count, Row{3, {kFrame, kFrame, 3}}, true);
    }
  }
  ObservationRows rows() const {
    ObservationRows out;
    if (parts_[1].has_value()) {
      out.view = parts_[0]->rows();
      out.inventory = parts_[1]->rows();
      out.daylight = parts_[2]->rows();
    } else {
      out.pixels = parts_[0]->rows();
    }
    return out;
  }

 private:
  std::optional<Buffer> parts_[3];
};

}  // namespace crafter

#endif  // CRAFTER_BUFFERS_H_
