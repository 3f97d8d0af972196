// Session serves the sessions of an environment's work queue, four at a time, until Ctrl-C or SIGTERM: their agents may call its tools
// weather and now. With -definitions it prints the tools as an agent lists them.
//
//	session [-definitions] [-drain] [-max-idle 1m]
//
// It reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and, if it is set, ANTHROPIC_BASE_URL.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"antenv.internal/antenv"
)

// Place is the input of weather: the schema follows from it.
type Place struct {
	City string `json:"city" description:"The name of the city."`
	Unit string `json:"unit,omitempty" enum:"celsius,fahrenheit" description:"The unit of the temperature."`
}

func weather(ctx context.Context, in Place) (string, error) {
	if in.City == "" {
		return "", fmt.Errorf("which city?") // the agent reads this
	}
	select {
	case <-time.After(10 * time.Millisecond): // stands for the work
	case <-ctx.Done(): // the call needs no reply any more: a user has interrupted the agent, for example
		return "", context.Cause(ctx)
	}
	if in.Unit == "fahrenheit" {
		return in.City + ": 54 degrees", nil
	}
	return in.City + ": 12 degrees", nil
}

var tools = antenv.Tools{
	antenv.Tool("weather", "Returns the weather in a city.", weather),
	antenv.Tool("now", "Returns the time.", func(context.Context, struct{}) (time.Time, error) { return time.Now(), nil }),
}

func main() {
	definitions := flag.Bool("definitions", false, "print the tools as an agent lists them")
	drain := flag.Bool("drain", false, "end when the queue is empty")
	maxIdle := flag.Duration("max-idle", time.Minute, "how long a session may be idle after a turn")
	flag.Parse()
	if *definitions {
		text, _ := json.MarshalIndent(tools.Definitions(), "", "  ")
		fmt.Println(string(text))
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := antenv.NewClient(antenv.WithEnvironmentKey(os.Getenv("ANTHROPIC_ENVIRONMENT_KEY")))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	worker, err := client.NewWorker(antenv.WorkerConfig{Concurrency: 4, Drain: *drain})
	if err != nil {
		log.Fatal(err)
	}
	defer worker.Close()
	if err := worker.Run(ctx, tools.Handler(antenv.WithMaxIdle(*maxIdle))); err != nil {
		log.Fatal(err)
	}
}
