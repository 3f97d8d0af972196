<?php

declare(strict_types=1);

namespace Antenv;

/**
 * What a client offers besides operations: workers, leases of other processes, and many calls at once.
 *
 * @internal
 */
trait ServesWork
{
    /**
     * Makes a worker, which serves the work queue of a self-hosted environment. null is the default.
     *
     * It claims nothing before it is asked for an item. The client may be closed before the worker.
     *
     * @param string|null $environmentID The environment (`env_...`). null: ANTHROPIC_ENVIRONMENT_ID.
     * @param string|null $environmentKey Its key. null: the client's, then ANTHROPIC_ENVIRONMENT_KEY.
     * @param string|null $workerID The poller's name, one per worker, for the queue's statistics. null: the host's
     *     name and twelve hex digits.
     * @param int|null $concurrency How many items it holds at once: 1 to 100000. null: 1.
     * @param int|null $blockMs How long a poll waits at the server: 0 to 999. null: 999, with `drain` 0.
     * @param int|null $reclaimOlderThanMs Polls also claim items left unacknowledged for this long. null: the
     *     server's, 5000.
     * @param bool|null $drain Whether it ends when the work queue is empty. null: no.
     * @param bool|null $heartbeat false: claim only, for another process to serve the items: see Lease::release().
     * @param int|null $desiredTTLSeconds How long a heartbeat is to extend a lease. null: the server decides.
     * @param int|null $idleAfterMs After how long without an item it pauses between polls. null: 60000.
     * @param int|null $idleMinMs The shortest such pause. null: 1000.
     * @param int|null $idleMaxMs The longest such pause. null: 3000.
     * @param int|null $graceMs How long items go on after the worker was stopped. null: 30000.
     * @param int|null $rescueAfterMs Items that another worker acknowledged and then left without a heartbeat for this
     *     long are returned to the queue from time to time; 0: never. null: 60000.
     *
     * @throws Exception\Config An argument is invalid, or there is no environment or no key.
     * @throws Exception\Closed This client is closed.
     */
    public function worker(
        ?string $environmentID = null,
        #[\SensitiveParameter]
        ?string $environmentKey = null,
        ?string $workerID = null,
        ?int $concurrency = null,
        ?int $blockMs = null,
        ?int $reclaimOlderThanMs = null,
        ?bool $drain = null,
        ?bool $heartbeat = null,
        ?int $desiredTTLSeconds = null,
        ?int $idleAfterMs = null,
        ?int $idleMinMs = null,
        ?int $idleMaxMs = null,
        ?int $graceMs = null,
        ?int $rescueAfterMs = null,
    ): Worker {
        return new Worker($this->handle(), Json::params(get_defined_vars()));
    }

    /**
     * Adopts the lease on an item that another process claimed, and keeps it by heartbeats.
     *
     * What is null comes from the environment variables that the other process passed on: `Handover::environment()`.
     * Blocks for at most 10 seconds, and while an item is being stopped for up to 60 more.
     *
     * @param string|null $workID The item. null: ANTHROPIC_WORK_ID.
     * @param string|null $environmentID Its environment. null: ANTHROPIC_ENVIRONMENT_ID.
     * @param string|null $sessionID The session to serve. null: ANTHROPIC_SESSION_ID.
     * @param string|null $workSecret The item's secret. null: ANTHROPIC_WORK_SECRET.
     * @param string|null $environmentKey Used if the secret holds no token. null: the client's, then
     *     ANTHROPIC_ENVIRONMENT_KEY.
     * @param string|null $expectedLastHeartbeat The last heartbeat of the other process, verbatim. null:
     *     ANTHROPIC_WORK_LAST_HEARTBEAT, and without that there was none.
     * @param int|null $desiredTTLSeconds How long a heartbeat is to extend the lease. null: the server decides.
     *
     * @throws Exception\LeaseLost The item is not this process's to serve.
     * @throws Exception\Config An argument is missing.
     * @throws Exception\AntenvException The server refused the heartbeat, or none was answered in time.
     */
    public function adopt(
        ?string $workID = null,
        ?string $environmentID = null,
        ?string $sessionID = null,
        #[\SensitiveParameter]
        ?string $workSecret = null,
        #[\SensitiveParameter]
        ?string $environmentKey = null,
        ?string $expectedLastHeartbeat = null,
        ?int $desiredTTLSeconds = null,
    ): Lease {
        return Lease::adopt($this->handle(), Json::params(get_defined_vars()));
    }

    /** Makes a completion queue, through which many calls of this client may be in flight at the same time. */
    public function queue(): Queue
    {
        return new Queue($this);
    }
}
