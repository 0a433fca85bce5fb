// The engine as a Python module: converts, checks and releases the GIL, and knows nothing of the game.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>

#include "dispatch.h"
#include "noise.h"
#include "vector.h"

namespace nb = nanobind;

namespace crafter {
namespace {

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

// A vector as Python holds it: it can be closed, and is used by one thread of one process at a time.
class Handle {
 public:
  Handle(std::shared_ptr<const Rules> rules, std::shared_ptr<const Art> art, const Table<double>& daylight,
         bool symbolic, int num_slots, int num_threads)
      : symbolic_(symbolic), process_(getpid()) {
    const Observe observe = symbolic ? Observe::kSymbolic : Observe::kPixels;
    vector_ = std::make_unique<Vector>(std::move(rules), std::move(art), to_vector(daylight), observe, num_slots,
                                       num_threads);
  }
  ~Handle() { drop(); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  void close() {
    const Use use(*this, false);
    drop();
  }

  void plan(int slot, uint32_t seed, const Terrain& terrain, const std::vector<int>& items, int length) {
    const Use use(*this);
    Episode episode;
    episode.plan = {seed, terrain};
    if (items.size() > episode.items.size()) throw Refused("items: more than there are kinds");
    std::copy(items.begin(), items.end(), episode.items.begin());
    episode.length = length;
    const nb::gil_scoped_release release;
    vector_->plan(slot, episode);
  }

  void reset(const nb::tuple& obs) {
    const Use use(*this);
    const ObservationBuffers buffers = observation(obs, vector_->num_slots());
    const nb::gil_scoped_release release;
    vector_->reset(buffers.rows());
  }

  nb::list step(nb::handle actions, const nb::tuple& obs, nb::handle rewards, nb::handle terminations,
                nb::handle truncations, nb::handle active, nb::handle final_obs) {
    const Use use(*this);
    const int count = vector_->num_slots();
    const Outputs out(*this, obs, rewards, terminations, truncations, count);
    std::optional<ObservationBuffers> final_buffers;
    if (!final_obs.is_none()) {
      final_buffers.emplace(nb::cast<nb::tuple>(final_obs), symbolic_, vector_->rules().num_items, count);
    }
    const Buffer wanted(actions, "actions", 'q', sizeof(int64_t), count, Row{}, false);
    std::optional<Buffer> mask;
    if (!active.is_none()) mask.emplace(active, "active", '?', 1, count, Row{}, false);
    std::vector<Move> moves;
    moves.reserve(static_cast<size_t>(count));
    for (int slot = 0; slot < count; ++slot) {
      if (mask.has_value() && *mask->rows().at(slot) == 0) continue;
      Move move{slot, 0};
      std::memcpy(&move.action, wanted.rows().at(slot), sizeof move.action);
      moves.push_back(move);
    }
    std::vector<Ended> ended;
    {
      const nb::gil_scoped_release release;
      std::optional<ObservationRows> final_rows;
      if (final_buffers.has_value()) final_rows = final_buffers->rows();
      ended = vector_->step(moves, out.rows(), final_rows.has_value() ? &*final_rows : nullptr);
    }
    return records(ended);
  }

  void send(const std::vector<std::pair<int, int64_t>>& moves) {
    const Use use(*this);
    std::vector<Move> all;
    for (const auto& [slot, action] : moves) all.push_back({slot, action});
    const nb::gil_scoped_release release;
    vector_->send(all);
  }

  nb::tuple receive(int count, const nb::tuple& obs, nb::handle rewards, nb::handle terminations,
                    nb::handle truncations) {
    const Use use(*this);
    const Outputs out(*this, obs, rewards, terminations, truncations, count);
    std::vector<Ended> ended;
    std::vector<int> slots;
    {
      const nb::gil_scoped_release release;
      slots = vector_->receive(count, out.rows(), ended);
    }
    return nb::make_tuple(slots, records(ended));
  }

  nb::bytes get_state(int slot) {
    const Use use(*this);
    const std::string state = vector_->get_state(slot);
    return nb::bytes(state.data(), state.size());
  }

  void set_state(int slot, const nb::bytes& state, int length, double episode_return) {
    const Use use(*this);
    vector_->set_state(slot, std::string(state.c_str(), state.size()), {length, episode_return});
  }

  // Whether something can be done with the slot, else an error.
  void check(int slot) {
    const Use use(*this);
    vector_->check_idle(slot);
  }

  double episode_return(int slot) {
    const Use use(*this);
    return vector_->look(slot).progress.episode_return;
  }

  void forget(int slot) {
    const Use use(*this);
    vector_->forget(slot);
  }

  void sabotage(int slot, bool world, bool memory) {
    const Use use(*this);
    vector_->sabotage(slot, static_cast<uint8_t>((world ? kFailWorld : kFailStep) | (memory ? kFailMemory : 0)));
  }

  // Every slot's numbers: items, skills, positions, daylight.
  void numbers(nb::handle inventory, nb::handle skills, nb::handle positions, nb::handle daylight) {
    const Use use(*this);
    const Rules& rules = vector_->rules();
    const int count = vector_->num_slots();
    const Buffer to_items(inventory, "inventory", 'B', 1, count, Row{1, {rules.num_items}}, true);
    const Buffer to_skills(skills, "skills", 'i', sizeof(int32_t), count, Row{1, {rules.num_skills}}, true);
    const Buffer to_positions(positions, "positions", 'i', sizeof(int32_t), count, Row{1, {2}}, true);
    const Buffer to_daylight(daylight, "daylight", 'd', sizeof(double), count, Row{}, true);
    for (int slot = 0; slot < count; ++slot) {
      const Game& game = vector_->look(slot);
      const Object& self = game.world.objects[kPlayerIndex];
      for (size_t i = 0; i < static_cast<size_t>(rules.num_items); ++i) {
        to_items.rows().at(slot)[i] = static_cast<uint8_t>(game.player.inventory[i]);
      }
      static_assert(sizeof(int) == sizeof(int32_t));
      std::memcpy(to_skills.rows().at(slot), game.player.skills.data(),
                  static_cast<size_t>(rules.num_skills) * sizeof(int32_t));
      const int32_t place[2] = {self.x, self.y};
      std::memcpy(to_positions.rows().at(slot), place, sizeof place);
      to_daylight.rows().put(slot, game.world.daylight);
    }
  }

  void maps(nb::handle out) {
    draw_all(out, Row{3, {2, kArea, kArea}}, [](const Rules&, const Game& game, uint8_t* to) { draw_map(game, to); });
  }
  void semantic(nb::handle out) { draw_all(out, Row{2, {kArea, kArea}}, draw_semantic); }

 private:
  // One call at a time, in the process that made the vector, and not after it was closed; `whole`: nor after a failure.
  class Use {
   public:
    explicit Use(Handle& handle, bool whole = true) : handle_(handle) {
      if (handle.process_ != getpid())
        throw Refused("the environments were made in another process; make them after the fork");
      if (handle.used_.exchange(true)) throw Refused("the environments are in use by another thread");
      try {
        if (handle.vector_ == nullptr) throw Refused("the environments are closed");
        if (whole) handle.vector_->check_whole();
      } catch (...) {
        handle.used_ = false;
        throw;
      }
    }
    ~Use() { handle_.used_ = false; }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    Handle& handle_;
  };

  class Outputs {
   public:
    Outputs(const Handle& handle, const nb::tuple& obs, nb::handle rewards, nb::handle terminations,
            nb::handle truncations, Py_ssize_t count)
        : obs_(obs, handle.symbolic_, handle.vector_->rules().num_items, count),
          rewards_(rewards, "rewards", 'f', sizeof(float), count, Row{}, true),
          terminations_(terminations, "terminations", '?', 1, count, Row{}, true),
          truncations_(truncations, "truncations", '?', 1, count, Row{}, true) {}

    StepRows rows() const { return {obs_.rows(), rewards_.rows(), terminations_.rows(), truncations_.rows()}; }

   private:
    ObservationBuffers obs_;
    Buffer rewards_;
    Buffer terminations_;
    Buffer truncations_;
  };

  ObservationBuffers observation(const nb::tuple& arrays, Py_ssize_t count) const {
    return ObservationBuffers(arrays, symbolic_, vector_->rules().num_items, count);
  }

  template <typename Draw>
  void draw_all(nb::handle out, const Row& row, Draw draw) {
    const Use use(*this);
    const int count = vector_->num_slots();
    const Buffer to(out, "out", 'B', 1, count, row, true);
    for (int slot = 0; slot < count; ++slot) draw(vector_->rules(), vector_->look(slot), to.rows().at(slot));
  }

  // (slot, length, return, truncated, count of each skill) for each ended episode.
  nb::list records(const std::vector<Ended>& ended) const {
    nb::list all;
    for (const Ended& one : ended) {
      nb::list skills;
      for (int i = 0; i < vector_->rules().num_skills; ++i) skills.append(one.skills[static_cast<size_t>(i)]);
      all.append(nb::make_tuple(one.slot, one.length, one.episode_return, one.truncated, nb::tuple(skills)));
    }
    return all;
  }

  void drop() {
    // In a forked child there are no threads to wait for; the memory goes with the process.
    if (process_ != getpid()) static_cast<void>(vector_.release());
    const nb::gil_scoped_release release;
    vector_.reset();
  }

  const bool symbolic_;
  const pid_t process_;
  std::unique_ptr<Vector> vector_;
  std::atomic<bool> used_{false};
};

std::shared_ptr<Rules> make_rules(
    const std::vector<std::string>& actions, const std::vector<std::string>& materials,
    const std::vector<std::string>& walkable, const std::vector<std::tuple<std::string, int, int>>& items,
    const std::map<std::string, std::tuple<NamedAmounts, NamedAmounts, double, std::string>>& collect,
    const std::map<std::string, std::tuple<NamedAmounts, std::vector<std::string>, std::string>>& place,
    const std::map<std::string, std::tuple<NamedAmounts, std::vector<std::string>, int>>& make,
    const std::vector<std::string>& skills) {
  RulesSpec spec;
  spec.actions = actions;
  spec.materials = materials;
  spec.walkable = walkable;
  for (const auto& [name, max, initial] : items) spec.items.push_back({name, max, initial});
  for (const auto& [name, rule] : collect) {
    spec.collect[name] = {std::get<0>(rule), std::get<1>(rule), std::get<2>(rule), std::get<3>(rule)};
  }
  for (const auto& [name, rule] : place) spec.place[name] = {std::get<0>(rule), std::get<1>(rule), std::get<2>(rule)};
  for (const auto& [name, rule] : make) spec.make[name] = {std::get<0>(rule), std::get<1>(rule), std::get<2>(rule)};
  spec.skills = skills;
  return std::make_shared<Rules>(spec);
}

template <typename Real>
using Values = nb::ndarray<nb::numpy, Real, nb::ndim<1>>;

template <typename Real>
Values<Real> noise(int64_t seed, const Table<Real>& x, const Table<Real>& y, Real z,
                   void (*kernel)(const Permutation&, const Real*, const Real*, Real, size_t, Real*)) {
  if (x.size() != y.size()) throw nb::value_error("noise: x and y differ in length");
  const auto in_range = [](Real value) { return -1e6 < value && value < 1e6; };
  bool sound = in_range(z);
  for (size_t i = 0; i < x.size(); ++i) sound = sound && in_range(x.data()[i]) && in_range(y.data()[i]);
  if (!sound) throw nb::value_error("noise: coordinates must lie within a million of 0");
  auto values = std::make_unique<Real[]>(x.size());
  kernel(permutation(seed), x.data(), y.data(), z, x.size(), values.get());
  Real* data = values.release();
  const nb::capsule owner(data, [](void* all) noexcept { delete[] static_cast<Real*>(all); });
  return Values<Real>(data, {x.size()}, owner);
}

Values<double> exact_noise(int64_t seed, const Table<double>& x, const Table<double>& y, double z) {
  return noise<double>(seed, x, y, z, kernels().noise3);
}

Values<float> rough_noise(int64_t seed, const Table<float>& x, const Table<float>& y, float z) {
  return noise<float>(seed, x, y, z, kernels().rough_noise3);
}

// Worlds without a game, to look at.
class WorldMaker {
 public:
  explicit WorldMaker(std::shared_ptr<const Rules> rules) : rules_(std::move(rules)), generator_(*rules_) {}

  // What draw_map gives of a new world, into an array of (1, 2, 64, 64).
  void make(uint32_t seed, const Terrain& terrain, nb::handle out) const {
    if (terrain.start_material < 1 || terrain.start_material > rules_->num_materials) {
      throw Refused("start material: there is none with this id");
    }
    const Buffer to(out, "out", 'B', 1, 1, Row{3, {2, kArea, kArea}}, true);
    const Daylight noon{1.0};
    Game game(*rules_, noon);
    World world(*rules_);
    generator_.generate({seed, terrain}, world);
    game.begin(world, {}, 1);
    draw_map(game, to.rows().at(0));
  }

 private:
  const std::shared_ptr<const Rules> rules_;
  const Generator generator_;
};

// Raises the package's own errors.
void translate(const std::exception_ptr& pointer, void*) {
  const auto raise = [](const char* name, const char* what) {
    const nb::object error = nb::module_::import_("envgen_exp.errors").attr(name);
    PyErr_SetString(error.ptr(), what);
  };
  try {
    std::rethrow_exception(pointer);
  } catch (const Failure& error) {
    if (error.no_memory) {
      PyErr_SetString(PyExc_MemoryError, error.what());
    } else {
      raise("EngineFailure", error.what());
    }
  } catch (const Refused& error) {
    raise("EngineError", error.what());
  } catch (const BadState& error) {
    raise("StateError", error.what());
  }
}

}  // namespace
}  // namespace crafter

NB_MODULE(_crafter, module) {
  using namespace crafter;
  using namespace nb::literals;
  nb::set_leak_warnings(false);  // an error's traceback may outlive the interpreter's end with an engine in it
  nb::register_exception_translator(translate);
  kernels();  // an unknown variant is refused here
  module.doc() = "The native Crafter engine; envgen_exp.families.crafter.engine is its Python side.";
  module.attr("area") = kArea;
  module.attr("chunk") = kChunk;
  module.attr("frame") = kFrame;
  module.attr("looks") = look_names();
  module.def("kernels", [] { return std::string(kernels().name); }, "The inner loops in use.");
  module.def("kernel_names", kernel_names, "The inner loops that this processor can run, the plainest first.");
  module.def("noise", exact_noise, "seed"_a, "x"_a, "y"_a, "z"_a, "OpenSimplex noise of points, for tests.");
  module.def("rough_noise", rough_noise, "seed"_a, "x"_a, "y"_a, "z"_a, "The same in float32, for tests.");

  nb::class_<Terrain>(module, "Terrain")
      .def(
          "__init__",
          [](Terrain* self, bool designed, bool mountain_absolute, double mountain_scale, double water_scale,
             double start_threshold, uint8_t start_material, double coal, double iron, double diamond, double tree,
             double ore_gate, double skeleton_distance) {
            new (self) Terrain{
                designed, mountain_absolute, mountain_scale, water_scale, start_threshold,  start_material, coal,
                iron,     diamond,           tree,           ore_gate,    skeleton_distance};
          },
          nb::kw_only(), "designed"_a, "mountain_absolute"_a, "mountain_scale"_a, "water_scale"_a, "start_threshold"_a,
          "start_material"_a, "coal"_a, "iron"_a, "diamond"_a, "tree"_a, "ore_gate"_a, "skeleton_distance"_a);

  nb::class_<Rules>(module, "Rules")
      .def(nb::new_(&make_rules), nb::kw_only(), "actions"_a, "materials"_a, "walkable"_a, "items"_a, "collect"_a,
           "place"_a, "make"_a, "skills"_a);

  nb::class_<Art>(module, "Art")
      .def(nb::new_([](const std::shared_ptr<Rules>& rules, const Table<uint8_t>& tiles, const Table<uint16_t>& nights,
                       const Table<uint8_t>& items, const Table<double>& vignette) {
             return std::make_shared<Art>(*rules, to_vector(tiles), to_vector(nights), to_vector(items),
                                          to_vector(vignette));
           }),
           nb::kw_only(), "rules"_a, "tiles"_a, "nights"_a, "items"_a, "vignette"_a);

  nb::class_<WorldMaker>(module, "WorldMaker")
      .def(nb::init<std::shared_ptr<const Rules>>(), "rules"_a)
      .def("make", &WorldMaker::make, "seed"_a, "terrain"_a, "out"_a);

  nb::class_<Handle>(module, "Vector")
      .def(nb::init<std::shared_ptr<const Rules>, std::shared_ptr<const Art>, const Table<double>&, bool, int, int>(),
           nb::kw_only(), "rules"_a, "art"_a, "daylight"_a, "symbolic"_a, "num_slots"_a, "num_threads"_a)
      .def("close", &Handle::close)
      .def("plan", &Handle::plan, "slot"_a, "seed"_a, "terrain"_a, "items"_a, "length"_a)
      .def("reset", &Handle::reset, "obs"_a)
      .def("step", &Handle::step, "actions"_a, "obs"_a, "rewards"_a, "terminations"_a, "truncations"_a,
           "active"_a.none(), "final_obs"_a.none())
      .def("send", &Handle::send, "moves"_a)
      .def("receive", &Handle::receive, "count"_a, "obs"_a, "rewards"_a, "terminations"_a, "truncations"_a)
      .def("get_state", &Handle::get_state, "slot"_a)
      .def("set_state", &Handle::set_state, "slot"_a, "state"_a, "length"_a, "episode_return"_a)
      .def("check", &Handle::check, "slot"_a)
      .def("episode_return", &Handle::episode_return, "slot"_a)
      .def("forget", &Handle::forget, "slot"_a)
      .def("sabotage", &Handle::sabotage, "slot"_a, nb::kw_only(), "world"_a = false, "memory"_a = false)
      .def("numbers", &Handle::numbers, "inventory"_a, "skills"_a, "positions"_a, "daylight"_a)
      .def("maps", &Handle::maps, "out"_a)
      .def("semantic", &Handle::semantic, "out"_a);
}
