//go:build !race

package api_test

const manyWaiters = 5000
