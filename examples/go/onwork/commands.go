//go:build unix

package main

import (
	"os"
	"sync"
	"syscall"
)

// commands are the commands that run. Not os/exec: that waits for its own processes alone, and orphans have to be reaped, too.
type commands struct {
	mu    sync.Mutex
	ended map[int]chan syscall.WaitStatus // by process
}

// start starts a command in a process group of its own. It returns its process, its standard input, and where its status will arrive.
func (c *commands) start(path string, arguments, variables []string) (int, *os.File, <-chan syscall.WaitStatus, error) {
	reading, writing, err := os.Pipe()
	if err != nil {
		return 0, nil, nil, err
	}
	defer reading.Close()
	c.mu.Lock() // it must not be reaped before it is known
	defer c.mu.Unlock()
	pid, err := syscall.ForkExec(path, arguments, &syscall.ProcAttr{
		Env:   variables,
		Files: []uintptr{reading.Fd(), 1, 2},
		Sys:   &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		_ = writing.Close()
		return 0, nil, nil, err
	}
	ended := make(chan syscall.WaitStatus, 1)
	c.ended[pid] = ended
	return pid, writing, ended, nil
}

// signal signals the process group of a command, if the command still runs.
func (c *commands) signal(pid int, number syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended[pid] != nil {
		_ = syscall.Kill(-pid, number)
	}
}

// reap reaps every process that has ended: commands, of whose process groups it kills what is left, and orphans if onwork is the process
// that they are left to.
func (c *commands) reap() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		if ended := c.ended[pid]; ended != nil {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
			delete(c.ended, pid)
			ended <- status
		}
	}
}
