#ifndef FLOORWATCH_BACKSHIM_H
#define FLOORWATCH_BACKSHIM_H
#ifdef __cplusplus
extern "C" {
#endif

void* fw_back_new(int history, double threshold);
void fw_back_free(void* model);
// Writes what is not background (255, shadows 127) of a BGR picture to mask and
// learns at the rate, 0 to 1; 0 leaves the model alone. -1 when OpenCV threw.
int fw_back_apply(void* model, unsigned char* bgr, int rows, int cols, unsigned char* mask, double rate);

#ifdef __cplusplus
}
#endif
#endif
