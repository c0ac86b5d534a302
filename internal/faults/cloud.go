package main

func cloudRows() []row { return nil }
