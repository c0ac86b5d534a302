#include "backshim.h"

#include <opencv2/video/background_segm.hpp>

// gocv v0.31 has no learning rate, without which a person who stands melts into
// the background.

typedef cv::Ptr<cv::BackgroundSubtractorMOG2> Model;

void* fw_back_new(int history, double threshold) {
    try {
        return new Model(cv::createBackgroundSubtractorMOG2(history, threshold, true));
    } catch (...) {
        return nullptr;
    }
}

void fw_back_free(void* model) { delete static_cast<Model*>(model); }

int fw_back_apply(void* model, unsigned char* bgr, int rows, int cols, unsigned char* mask, double rate) {
    try {
        cv::Mat picture(rows, cols, CV_8UC3, bgr), out(rows, cols, CV_8UC1, mask);
        (*static_cast<Model*>(model))->apply(picture, out, rate);
        return 0;
    } catch (...) {
        return -1;
    }
}
