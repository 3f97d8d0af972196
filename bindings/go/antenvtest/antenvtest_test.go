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

	"antenv.internal/antenv/antenvtest"
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

func TestSkillsAndMemoryStores(t *testing.T) {
	emulator := antenvtest.Start(t)
	first := emulator.UploadSkill(antenvtest.Skill{
		Name: "pdf", Description: "Reads PDF", Files: map[string]string{"SKILL.md": "# PDF"}, Format: "tar.gz",
	})
	second := emulator.UploadSkill(antenvtest.Skill{ID: first.SkillID, Version: "2", Name: "pdf", Archive: []byte("any bytes")})
	if first.Name != "pdf" || first.Description != "Reads PDF" || first.CreatedAt.IsZero() || second.SkillID != first.SkillID || second.ID != "2" {
		t.Errorf("uploaded %+v, then %+v", first, second)
	}
	if archive := get(t, emulator, "/v1/skills/"+first.SkillID+"/versions/2/content"); archive != "any bytes" {
		t.Errorf("downloaded %q", archive)
	}
	store := emulator.CreateMemoryStore("Notes", map[string]string{"/a": "the content"})
	if list := get(t, emulator, "/v1/memory_stores/"+store+"/memories?view=full"); !strings.Contains(list, "the content") {
		t.Errorf("listed %s", list)
	}
	if empty := emulator.CreateMemoryStore("Notes", nil); empty == store {
		t.Errorf("two stores have the id %s", store)
	}
}

func get(t *testing.T, emulator *antenvtest.Emulator, path string) string {
	t.Helper()
	request := must(http.NewRequest("GET", emulator.URL+path, nil))(t)
	request.Header.Set("x-api-key", "k")
	request.Header.Set("anthropic-version", "2026-10-21")
	request.Header.Set("anthropic-beta", "managed-agents-2026-04-01")
	response := must(http.DefaultClient.Do(request))(t)
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", path, response.Status)
	}
	return string(must(io.ReadAll(response.Body))(t))
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
