// A frame that is being drawn: colours, inverse depths and what each pixel shows; and polygons drawn into it.

#ifndef DRIVING_CANVAS_H_
#define DRIVING_CANVAS_H_

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "labels.h"
#include "scene.h"

namespace driving {

// What is at a depth of d / 1024 m has the inverse depth kInverse / d; the sky has 0.
constexpr int64_t kInverse = int64_t{1} << 40;
constexpr int64_t kNearest = metres(0, 600);

// Ids of pixels: things have 1 and more, in their order.
constexpr uint8_t kGround = 0;
constexpr uint8_t kScenery = 254;
constexpr uint8_t kSky = 255;

// A point as the camera has it: to the right, ahead and above it.
struct Vertex {
  int64_t right, depth, up;
};

class Canvas {
 public:
  Canvas(int width, int height);

  // Begins a frame that goes to `rgb`; the sky is everywhere.
  void begin(uint8_t* rgb);

  // The camera: pinhole, its focal length seven eighths of the width; the horizon is at nine twentieths of the height.
  // All in pixels with 8 bits behind the point.
  int64_t focal() const { return width * 224; }
  int64_t centre_u() const { return width * 128; }
  int64_t centre_v() const { return height * 2304 / 20; }

  // Fills a convex polygon where it is nearer than what is there. What it covers is counted for `seen`, once for all
  // polygons of an id.
  void fill(const Vertex* corners, int count, Colour colour, uint8_t id, Seen* seen);
  // Multiplies the ground's colours under a polygon that lies on it by gain / 256.
  void shade(const Vertex* corners, int count, int gain);
  // Adds light around a pixel, less and less up to the radius.
  void glow(int64_t u, int64_t v, int64_t radius, Colour colour);
  // The pixel that shows a point ahead of the camera.
  int64_t column_of(const Vertex& point) const { return (centre_u() + focal() * point.right / point.depth) >> 8; }
  int64_t row_of(const Vertex& point) const { return (centre_v() - focal() * point.up / point.depth) >> 8; }
  // Counts what of each thing is visible.
  void count_visible(std::vector<Seen>& seen) const;

  const int width;
  const int height;
  uint8_t* rgb = nullptr;
  std::vector<int32_t> inverse;
  std::vector<uint8_t> ids;

 private:
  struct Span {
    int64_t left, right;          // 16 bits behind the point
    int64_t left_inv, right_inv;  // inverse depths
  };
  // Sets spans_ of the rows from first to last, exclusive; false where there are none.
  bool outline(const Vertex* corners, int count, int& first, int& last);
  template <typename Put>
  void each_pixel(int first, int last, Put put);

  std::vector<Span> spans_;
  std::vector<uint8_t> stamps_;
};

}  // namespace driving

#endif  // DRIVING_CANVAS_H_
