// Package vt is the screen model.
package vt
