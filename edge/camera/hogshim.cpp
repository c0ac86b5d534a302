#include "hogshim.h"

#include <algorithm>
#include <opencv2/objdetect.hpp>

// gocv v0.31 cannot be used for this: its HOG_GetDefaultPeopleDetector hands out
// a Mat over a vector that is already freed, and its detectMultiScale drops the
// weights, which are the only score there is.

void* fw_hog_new(void) {
    try {
        cv::HOGDescriptor* hog = new cv::HOGDescriptor();
        hog->setSVMDetector(cv::HOGDescriptor::getDefaultPeopleDetector());
        return hog;
    } catch (...) {
        return nullptr;
    }
}

void fw_hog_free(void* hog) { delete static_cast<cv::HOGDescriptor*>(hog); }

int fw_hog_detect(void* hog, unsigned char* grey, int rows, int cols,
                  double scale, double group, fw_window* out, int limit) {
    try {
        cv::Mat picture(rows, cols, CV_8UC1, grey);
        std::vector<cv::Rect> found;
        std::vector<double> weights;
        static_cast<cv::HOGDescriptor*>(hog)->detectMultiScale(
            picture, found, weights, 0, cv::Size(8, 8), cv::Size(8, 8), scale, group, false);
        int n = std::min<int>(limit, std::min(found.size(), weights.size()));
        for (int i = 0; i < n; i++) {
            out[i] = {found[i].x, found[i].y, found[i].width, found[i].height, weights[i]};
        }
        return n;
    } catch (...) {
        return -1;
    }
}
