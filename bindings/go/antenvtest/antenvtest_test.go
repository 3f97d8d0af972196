package antenvtest_test

import (
	"bufio"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"antenv/antenvtest"
)

// The test runs itself as a child, which starts an emulator and is killed.
const child = "ANTENVTEST_CHILD"

func TestTheEmulatorEndsWithTheProcessThatStartedIt(t *testing.T) {
	if os.Getenv(child) != "" {
		_, _ = os.Stdout.WriteString(antenvtest.Start(t).URL + "\n")
		select {}
	}
	process := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	process.Env = append(os.Environ(), child+"=1")
	out := must(process.StdoutPipe())(t)
	stderr := must(process.StderrPipe())(t) // the emulator's, too: it ends when both have ended
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	url := must(bufio.NewReader(out).ReadString('\n'))(t)
	must(http.Get(strings.Replace(strings.TrimSpace(url), "https:", "http:", 1) + "/_emulator/health"))(t).Body.Close()
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, stderr)
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		t.Fatal("the emulator did not end")
	}
	_ = process.Wait()
}

func must[T any](result T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return result
	}
}
