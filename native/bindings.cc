// The engine as a Python module: its names, its tables and its errors.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>

#include "buffers.h"
#include "dispatch.h"
#include "handle.h"
#include "vector.h"

namespace crafter {
namespace {

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

  nb::class_<Terrain>(module, "Terrain")
      .def(
          "__init__",
          [](Terrain* self, bool designed, bool mountain_absolute, double mountain_scale, double water_scale,
             double start_threshold, uint8_t start_material, double coal, double iron, double diamond, double tree,
             double ore_gate, double zombie_distance, double skeleton_distance) {
            new (self) Terrain{
                designed, mountain_absolute, mountain_scale, water_scale, start_threshold, start_material,   coal,
                iron,     diamond,           tree,           ore_gate,    zombie_distance, skeleton_distance};
          },
          nb::kw_only(), "designed"_a, "mountain_absolute"_a, "mountain_scale"_a, "water_scale"_a, "start_threshold"_a,
          "start_material"_a, "coal"_a, "iron"_a, "diamond"_a, "tree"_a, "ore_gate"_a, "zombie_distance"_a,
          "skeleton_distance"_a);

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
      .def("numbers", &Handle::numbers, "inventory"_a, "skills"_a, "positions"_a, "daylight"_a)
      .def("maps", &Handle::maps, "out"_a)
      .def("semantic", &Handle::semantic, "out"_a);
}
