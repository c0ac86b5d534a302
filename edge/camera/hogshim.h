#ifndef FLOORWATCH_HOGSHIM_H
#define FLOORWATCH_HOGSHIM_H
#ifdef __cplusplus
extern "C" {
#endif

// One window that looked like a person, with the margin of the classifier.
typedef struct { int x, y, w, h; double weight; } fw_window;

void* fw_hog_new(void);
void fw_hog_free(void* hog);
// Looks at a grey picture and writes up to limit windows; returns how many
// there are, or -1 when OpenCV threw.
int fw_hog_detect(void* hog, unsigned char* grey, int rows, int cols,
                  double scale, double group, fw_window* out, int limit);

#ifdef __cplusplus
}
#endif
#endif
