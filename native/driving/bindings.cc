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
    if (process_ != getpid()) throw std::invalid_argument("the frames' threads were made in another process");
    const size_t count = seeds.shape(0);
    const size_t pixels = images.shape(1) * images.shape(2);
    const bool fits = which.shape(0) == count && images.shape(0) == count && labels.shape(0) == count &&
                      strata.shape(0) == count && labels.shape(1) == kLabels &&
                      strata.shape(1) == strata_names().size() && images.shape(3) == 3 &&
                      (!inverses || inverses->size() == count * pixels) && (!ids || ids->size() == count * pixels);
    if (!fits) throw std::invalid_argument("frames: arrays of other shapes are needed");
    std::vector<Recipe> each;
    for (size_t i = 0; i < count; ++i) each.push_back(recipe_at(recipes, which.data()[i]));
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
      Scene scene = sample(each[i], static_cast<uint64_t>(seeds.data()[i]), other_look);
      if (mirrored) scene = scene.mirrored();
      draw_frame(scene, *canvas, images.data() + i * pixels * 3, labels.data() + i * kLabels,
                 strata.data() + i * strata_names().size());
      if (inverses) std::copy(canvas->inverse.begin(), canvas->inverse.end(), inverses->data() + i * pixels);
      if (ids) std::copy(canvas->ids.begin(), canvas->ids.end(), ids->data() + i * pixels);
    });
  }

 private:
  const pid_t process_;
  std::mutex mutex_;
  std::unique_ptr<crafter::Pool> pool_;
};

// A scene in numbers, to compute its labels a second time: lengths in 1/1024 m, angles in 2^-16 of a turn.
nb::dict describe(const Recipes& recipes, int64_t seed, bool other_look) {
  const Scene scene = sample(recipe_at(recipes, 0), static_cast<uint64_t>(seed), other_look);
  nb::dict out;
  out["lanes"] = scene.lanes;
  out["own_lane"] = scene.own_lane;
  out["lane_width"] = scene.lane_width;
  out["shift"] = scene.shift;
  out["bend"] = scene.bend;
  out["twist"] = scene.twist;
  out["rise"] = scene.rise;
  out["rise_to"] = scene.rise_to;
  out["camera_t"] = scene.camera_t;
  out["camera_height"] = scene.camera_height;
  out["heading"] = scene.heading;
  out["visibility"] = scene.visibility;
  out["markings"] = static_cast<int>(scene.markings);
  nb::list things;
  for (const Thing& thing : scene.things) {
    nb::dict one;
    one["t"] = thing.t;
    one["y"] = thing.y;
    one["turn"] = thing.turn;
    one["length"] = thing.length;
    one["width"] = thing.width;
    one["height"] = thing.height;
    one["kind"] = static_cast<int>(thing.kind);
    one["event"] = thing.event;
    things.append(one);
  }
  out["things"] = things;
  return out;
}

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
           "images"_a, "labels"_a, "strata"_a, "inverses"_a = nb::none(), "ids"_a = nb::none());
}
