// Package house holds the tests of the repository itself: that its rooms stand in
// their order, that its papers name what exists, that a record's fields reach
// everywhere, and that what older versions wrote is read on.
package house
