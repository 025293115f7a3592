// Package enginetest runs a container engine of a test's own, and makes images for it without any registry.
//
// It promises that such an engine shares nothing with one that the machine may have: its files, its socket and its networks
// are in the test's folder or not there at all. So a test may stop, kill and restart it. What is run in it is left to tests.
package enginetest
