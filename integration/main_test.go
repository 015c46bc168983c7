package integration_test

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	code := m.Run()
	removeBuild()
	os.Exit(code)
}
