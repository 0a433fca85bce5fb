#include "frame.h"

#include "air.h"
#include "ground.h"
#include "labels.h"
#include "light.h"
#include "scenery.h"
#include "things.h"

namespace driving {

void draw_frame(const Scene& scene, Canvas& canvas, uint8_t* rgb, float* labels, bool* strata) {
  const Light light(scene);
  std::vector<Seen> seen;
  canvas.begin(rgb);
  draw_ground(scene, light, canvas);
  draw_sky(scene, light, canvas);
  draw_shadows(scene, light, canvas);
  draw_things(scene, light, canvas, seen);
  draw_scenery(scene, light, canvas);
  canvas.count_visible(seen);
  draw_glare(scene, light, canvas);
  draw_rain(scene, light, canvas);
  const int pixels = canvas.width * canvas.height;
  label(scene, seen, pixels, labels);
  stratify(scene, seen, pixels, labels, strata);
}

}  // namespace driving
