<?php

declare(strict_types=1);

namespace Antenv\Types;

/**
 * The packages of an environment; versions in the spelling of their package manager, as in `pandas==2.2.0`.
 */
final class Packages extends Model
{
    public const TYPE = 'packages';

    /**
     * Debian and Ubuntu packages.
     *
     * @var list<string>
     */
    public readonly array $apt;

    /**
     * Rust packages.
     *
     * @var list<string>
     */
    public readonly array $cargo;

    /**
     * Ruby packages.
     *
     * @var list<string>
     */
    public readonly array $gem;

    /**
     * Go packages.
     *
     * @var list<string>
     */
    public readonly array $go;

    /**
     * Node.js packages.
     *
     * @var list<string>
     */
    public readonly array $npm;

    /**
     * Python packages.
     *
     * @var list<string>
     */
    public readonly array $pip;

    /** Always "packages". */
    public readonly ?string $type;
}
