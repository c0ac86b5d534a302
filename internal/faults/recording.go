package main

func recordingRows() []row { return nil }
