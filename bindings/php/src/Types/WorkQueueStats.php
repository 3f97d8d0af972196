<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The statistics of the work queue of an environment.
 */
final class WorkQueueStats extends Model
{
    public const TYPE = 'work_queue_stats';

    /** How many items wait to be polled. */
    public readonly int $depth;

    /** Since when the oldest item has been there (RFC 3339); null when there is none. */
    public readonly ?string $oldestQueuedAt;

    /** How many were polled and not acknowledged yet. */
    public readonly int $pending;

    /** Always "work_queue_stats". */
    public readonly string $type;

    /** How many workers polled in the last 30 seconds, counted by `anthropicWorkerID`. */
    public readonly ?int $workersPolling;
}
