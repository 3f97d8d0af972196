<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * A network policy: only what is named here may be reached.
 */
final class LimitedNetwork extends Model
{
    public const TYPE = 'limited';

    /** Always "limited". */
    public readonly string $type;

    /** Whether the MCP servers of the agent may be reached beyond `$allowedHosts`. */
    public readonly bool $allowMCPServers;

    /** Whether public package registries may be reached beyond `$allowedHosts`. */
    public readonly bool $allowPackageManagers;

    /**
     * Domains that may be reached.
     *
     * @var list<string>
     */
    public readonly array $allowedHosts;
}
