package integration_test

import (
	"context"
	"fmt"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	ctx, stop := context.WithCancel(context.Background())
	watched := make(chan struct{})
	go func() {
		planted().watchProcesses(ctx)
		close(watched)
	}()
	code := m.Run()
	stop()
	<-watched
	for _, leak := range planted().verdict() {
		fmt.Fprintln(os.Stderr, "FAIL: a secret shows:", leak)
		code = max(code, 1)
	}
	removeBuild()
	os.Exit(code)
}
