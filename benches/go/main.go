// GETs of one environment from many goroutines, each waiting for its own: by antenv, by the official SDK, or by net/http alone. Prints
// its figures as the C programs next to it do.
//
//	go PEER URL ID GOROUTINES SECONDS        PEER: antenv, official, net/http
//	go stream PEER URL EVENTS PACED_EVENTS   reads a session's events, see stream.go
//	go session URL SESSIONS                  serves sessions, see session.go
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"antenv.internal/antenv"

	"github.com/anthropics/anthropic-sdk-go/v2"
	"github.com/anthropics/anthropic-sdk-go/v2/option"
)

// get is the peer's call: one GET, decoded.
func get(peer, url, id string, goroutines int) func(context.Context) error {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 0, goroutines // the default of 2 would have it connect all the time
	transport.Proxy = nil
	pooled := &http.Client{Transport: transport}
	switch peer {
	case "antenv":
		client, err := antenv.NewClient(antenv.WithAPIKey("an-api-key"), antenv.WithBaseURL(url))
		check(err)
		return func(ctx context.Context) error {
			_, err := client.Environments.Retrieve(ctx, id)
			return err
		}
	case "official":
		client := anthropic.NewClient(option.WithAPIKey("an-api-key"), option.WithBaseURL(url), option.WithHTTPClient(pooled))
		return func(ctx context.Context) error {
			_, err := client.Beta.Environments.Get(ctx, id, anthropic.BetaEnvironmentGetParams{})
			return err
		}
	case "net/http":
		return func(ctx context.Context) error {
			request, err := http.NewRequestWithContext(ctx, "GET", url+"/v1/environments/"+id, nil)
			if err != nil {
				return err
			}
			request.Header.Set("accept", "application/json")
			request.Header.Set("authorization", "Bearer an-api-key")
			request.Header.Set("anthropic-version", "2026-10-21")
			request.Header.Set("anthropic-beta", "managed-agents-2026-04-01")
			response, err := pooled.Do(request)
			if err != nil {
				return err
			}
			defer response.Body.Close()
			text, err := io.ReadAll(response.Body)
			if err != nil {
				return err
			}
			var environment antenv.Environment // the same struct: what differs is how it is fetched
			return json.Unmarshal(text, &environment)
		}
	}
	panic("what is " + peer + "?")
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func cpu() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// run has the goroutines call for a while; returns how long each call took.
func run(call func(context.Context) error, goroutines int, span time.Duration) []time.Duration {
	ctx, cancel := context.WithCancel(context.Background()) // as a service has it
	defer cancel()
	took := make([][]time.Duration, goroutines)
	until := time.Now().Add(span)
	var all sync.WaitGroup
	for i := range goroutines {
		all.Add(1)
		go func() {
			defer all.Done()
			for begun := time.Now(); begun.Before(until); {
				check(call(ctx))
				now := time.Now()
				took[i] = append(took[i], now.Sub(begun))
				begun = now
			}
		}()
	}
	all.Wait()
	return slices.Concat(took...)
}

func main() {
	switch os.Args[1] {
	case "stream":
		streams(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
		return
	case "session":
		sessions(os.Args[2], os.Args[3])
		return
	}
	peer, url, id := os.Args[1], os.Args[2], os.Args[3]
	goroutines, err := strconv.Atoi(os.Args[4])
	check(err)
	seconds, err := strconv.ParseFloat(os.Args[5], 64)
	check(err)
	call := get(peer, url, id, goroutines)
	run(call, goroutines, time.Duration(seconds*0.3e9)) // to warm up
	begun, before := time.Now(), cpu()
	took := run(call, goroutines, time.Duration(seconds*1e9))
	wall, spent := time.Since(begun), cpu()-before
	slices.Sort(took)
	status, err := os.ReadFile("/proc/self/status")
	check(err)
	var rss int
	_, peak, _ := strings.Cut(string(status), "VmHWM:")
	_, err = fmt.Sscan(peak, &rss)
	check(err)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
	fmt.Printf(`{"rps":%.0f,"cpu_us":%.2f,"p50_us":%.1f,"p99_us":%.1f,"rss_kb":%d}`+"\n", float64(len(took))/wall.Seconds(),
		us(spent)/float64(len(took)), us(took[len(took)/2]), us(took[len(took)*99/100]), rss)
}
