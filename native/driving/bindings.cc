// The scene generator and rasteriser as a Python module.

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "../pool.h"
#include "frame.h"

namespace driving {
namespace {

namespace nb = nanobind;

using Recipes = nb::ndarray<const int32_t, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Indices = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Seeds = nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Images = nb::ndarray<uint8_t, nb::ndim<4>, nb::c_contig, nb::device::cpu>;
using Labels = nb::ndarray<float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Strata = nb::ndarray<bool, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Depths = nb::ndarray<int32_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Ids = nb::ndarray<uint8_t, nb::ndim<3>, nb::c_contig, nb::device::cpu>;

Recipe recipe_at(const Recipes& recipes, int64_t index) {
  if (recipes.shape(1) != kRecipeInts) throw std::invalid_argument("recipes: wrong number of columns");
  if (index < 0 || static_cast<size_t>(index) >= recipes.shape(0)) throw std::out_of_range("which: no such recipe");
  Recipe recipe;
  std::memcpy(&recipe, recipes.data() + static_cast<size_t>(index) * kRecipeInts, sizeof recipe);
  return recipe;
}

// A scene's numbers by name: lengths in 1/1024 m, angles in 2^-16 of a turn.
template <typename Visit>
void each_number(Scene& scene, Visit visit) {
  visit("seed", scene.seed);
  visit("other_look", scene.other_look);
  visit("driven", scene.driven);
  visit("along", scene.along);
  visit("lanes", scene.lanes);
  visit("own_lane", scene.own_lane);
  visit("lane_width", scene.lane_width);
  visit("shoulder_left", scene.shoulder[0]);
  visit("shoulder_right", scene.shoulder[1]);
  visit("bend", scene.bend);
  visit("twist", scene.twist);
  visit("rise", scene.rise);
  visit("rise_to", scene.rise_to);
  visit("shift", scene.shift);
  visit("markings", scene.markings);
  visit("camera_t", scene.camera_t);
  visit("camera_height", scene.camera_height);
  visit("heading", scene.heading);
  visit("time", scene.time);
  visit("sun_bearing", scene.sun_bearing);
  visit("sun_height", scene.sun_height);
  visit("weather", scene.weather);
  visit("visibility", scene.visibility);
  visit("roadside", scene.roadside);
}
template <typename Visit>
void each_number(Thing& thing, Visit visit) {
  visit("kind", thing.kind);
  visit("t", thing.t);
  visit("y", thing.y);
  visit("turn", thing.turn);
  visit("length", thing.length);
  visit("width", thing.width);
  visit("height", thing.height);
  visit("red", thing.colour.r);
  visit("green", thing.colour.g);
  visit("blue", thing.colour.b);
  visit("model", thing.model);
  visit("brakes", thing.brakes);
  visit("hazard", thing.hazard);
  visit("indicates", thing.indicates);
  visit("oncoming", thing.oncoming);
  visit("sky_coloured", thing.sky_coloured);
  visit("event", thing.event);
}

template <typename Of>
nb::dict written(Of& of) {
  nb::dict out;
  each_number(of, [&out](const char* name, auto& value) { out[name] = static_cast<int64_t>(value); });
  return out;
}
template <typename Of>
Of read(const nb::dict& from) {
  Of of{};
  each_number(of, [&from](const char* name, auto& value) {
    value = static_cast<std::decay_t<decltype(value)>>(nb::cast<int64_t>(from[name]));
  });
  return of;
}

nb::dict describe(const Recipes& recipes, int64_t seed, bool other_look) {
  Scene scene = sample(recipe_at(recipes, 0), static_cast<uint64_t>(seed), other_look);
  nb::dict out = written(scene);
  nb::list things;
  for (Thing& thing : scene.things) things.append(written(thing));
  out["things"] = things;
  return out;
}

// The scene of what `describe` gives, or of other numbers by the same names.
Scene scene_of(const nb::dict& from) {
  Scene scene = read<Scene>(from);
  for (const nb::handle one : nb::cast<nb::list>(from["things"])) {
    scene.things.push_back(read<Thing>(nb::cast<nb::dict>(one)));
    const Thing& thing = scene.things.back();
    const bool known = thing.kind >= 0 && thing.kind < kKinds && thing.model >= 0 && thing.model < 3 &&
                       thing.event >= 0 && thing.event <= kEvents && thing.length > 0 && thing.width > 0;
    if (!known) throw std::invalid_argument("scenes: a thing of no known kind");
    if (thing.event < kEvents) scene.events[static_cast<size_t>(thing.event)] = true;
  }
  scene.events[kShiftedLanes] = scene.shift != 0;
  const bool known = scene.lanes >= 1 && scene.lanes <= 4 && scene.markings >= 0 && scene.markings < kMarkings &&
                     scene.time >= 0 && scene.time < kTimes && scene.weather >= 0 && scene.weather < kWeathers &&
                     scene.visibility > 0 && scene.camera_height > 0 && scene.lane_width > 0 &&
                     scene.things.size() < kScenery - 1;
  if (!known) throw std::invalid_argument("scenes: numbers out of range");
  return scene;
}

// Draws batches of frames with several threads. One caller at a time; others wait.
class Painter {
 public:
  explicit Painter(int num_threads)
      : process_(getpid()),
        pool_(std::make_unique<crafter::Pool>(num_threads, [] { return false; }, [] { return false; })) {}
  ~Painter() {
    // In a forked child there are no threads to wait for; the memory goes with the process.
    if (process_ != getpid()) static_cast<void>(pool_.release());
  }
  Painter(const Painter&) = delete;
  Painter& operator=(const Painter&) = delete;

  void draw(const Recipes& recipes, const Indices& which, const Seeds& seeds, bool other_look, bool mirrored,
            const Images& images, const Labels& labels, const Strata& strata, const std::optional<Depths>& inverses,
            const std::optional<Ids>& ids) {
    const size_t count = seeds.shape(0);
    const size_t pixels = images.shape(1) * images.shape(2);
    const bool fits = which.shape(0) == count && (!inverses || inverses->size() == count * pixels) &&
                      (!ids || ids->size() == count * pixels);
    if (!fits) throw std::invalid_argument("frames: arrays of other shapes are needed");
    std::vector<Recipe> each;
    for (size_t i = 0; i < count; ++i) each.push_back(recipe_at(recipes, which.data()[i]));
    const auto scene_at = [&](size_t i) {
      const Scene scene = sample(each[i], static_cast<uint64_t>(seeds.data()[i]), other_look);
      return mirrored ? scene.mirrored() : scene;
    };
    draw_all(count, scene_at, images, labels, strata, [&](size_t i, const Canvas& canvas) {
      if (inverses) std::copy(canvas.inverse.begin(), canvas.inverse.end(), inverses->data() + i * pixels);
      if (ids) std::copy(canvas.ids.begin(), canvas.ids.end(), ids->data() + i * pixels);
    });
  }

  void draw_scenes(const std::vector<nb::dict>& scenes, const Images& images, const Labels& labels,
                   const Strata& strata) {
    std::vector<Scene> each;
    for (const nb::dict& one : scenes) each.push_back(scene_of(one));
    draw_all(
        each.size(), [&each](size_t i) -> const Scene& { return each[i]; }, images, labels, strata,
        [](size_t, const Canvas&) {});
  }

 private:
  template <typename SceneAt, typename Drawn>
  void draw_all(size_t count, SceneAt scene_at, const Images& images, const Labels& labels, const Strata& strata,
                Drawn drawn) {
    if (process_ != getpid()) throw std::invalid_argument("the frames' threads were made in another process");
    const size_t pixels = images.shape(1) * images.shape(2);
    const bool fits = images.shape(0) == count && labels.shape(0) == count && strata.shape(0) == count &&
                      labels.shape(1) == kLabels && strata.shape(1) == strata_names().size() && images.shape(3) == 3;
    if (!fits) throw std::invalid_argument("frames: arrays of other shapes are needed");
    const nb::gil_scoped_release release;
    const std::lock_guard<std::mutex> lock(mutex_);
    pool_->run(static_cast<int>(count), [&](int number) {
      const auto i = static_cast<size_t>(number);
      thread_local std::unique_ptr<Canvas> canvas;
      const auto height = static_cast<int>(images.shape(1));
      const auto width = static_cast<int>(images.shape(2));
      if (!canvas || canvas->width != width || canvas->height != height) {
        canvas = std::make_unique<Canvas>(width, height);
      }
      draw_frame(scene_at(i), *canvas, images.data() + i * pixels * 3, labels.data() + i * kLabels,
                 strata.data() + i * strata_names().size());
      drawn(i, *canvas);
    });
  }

  const pid_t process_;
  std::mutex mutex_;
  std::unique_ptr<crafter::Pool> pool_;
};

}  // namespace
}  // namespace driving

NB_MODULE(_driving, module) {
  using namespace driving;
  using namespace nb::literals;
  module.doc() = "Highway scenes: frames, labels and strata; envgen_exp.families.driving.painter is its Python side.";
  module.attr("recipe") = recipe_parts();
  module.attr("strata") = strata_names();
  module.attr("num_labels") = kLabels;
  module.attr("inverse") = kInverse;
  module.attr("metre") = kMetre;
  module.def("describe", &describe, "recipes"_a, "seed"_a, "other_look"_a);
  nb::class_<Painter>(module, "Painter")
      .def(nb::init<int>(), "num_threads"_a)
      .def("draw", &Painter::draw, nb::kw_only(), "recipes"_a, "which"_a, "seeds"_a, "other_look"_a, "mirrored"_a,
           "images"_a, "labels"_a, "strata"_a, "inverses"_a = nb::none(), "ids"_a = nb::none())
      .def("draw_scenes", &Painter::draw_scenes, nb::kw_only(), "scenes"_a, "images"_a, "labels"_a, "strata"_a);
}
