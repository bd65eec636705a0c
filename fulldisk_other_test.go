//go:build !linux

package main

// beforeServing is what a server of the tests does first.
func beforeServing() error { return nil }
