// Sky, sun, rain, and what they do to a frame.

#ifndef DRIVING_AIR_H_
#define DRIVING_AIR_H_

#include "canvas.h"
#include "light.h"
#include "scene.h"

namespace driving {

// Sky, clouds and what stands on the horizon, where nothing has been drawn.
void draw_sky(const Scene& scene, const Light& light, Canvas& canvas);
// Over the finished frame: the glare of a low sun and of headlights, the edge of one's own beam, and rain.
void draw_glare(const Scene& scene, const Light& light, Canvas& canvas);
void draw_rain(const Scene& scene, const Light& light, Canvas& canvas);

}  // namespace driving

#endif  // DRIVING_AIR_H_
