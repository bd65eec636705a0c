package api_test

import (
	"testing"

	"longhaul/storage/storagetest"
)

func TestMain(m *testing.M) { storagetest.Main(m) }
