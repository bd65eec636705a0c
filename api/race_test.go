//go:build race

package api_test

// The race detector dies of more than 8,128 goroutines, and a held request has four.
const manyWaiters = 500
