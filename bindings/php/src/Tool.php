<?php

declare(strict_types=1);

namespace Antenv;

/**
 * Makes a function or method a tool of an agent, or says how to call it and what to say about it.
 *
 *     #[Antenv\Tool(description: 'Returns the weather of a city.')]
 *     function weather(string $city, int $days = 1): string { ... }
 *
 *     $lease->serve([weather(...)]);
 *
 * Without it, the name is the function's and the description is its doc comment. Of an object that is given as a tool,
 * the public methods with this attribute are the tools.
 */
#[\Attribute(\Attribute::TARGET_FUNCTION | \Attribute::TARGET_METHOD)]
final class Tool
{
    /**
     * @param string|null $description What the agent is told about it. Without it: the doc comment up to its first tag.
     * @param string|null $name The name that the agent calls it by. Without it: the function's.
     * @param array<string, mixed>|null $inputSchema The JSON schema that the agent is told, for functions that take
     *     `mixed ...$input`. Without it: that of the parameters, by which the input is checked in either case.
     */
    public function __construct(
        public readonly ?string $description = null,
        public readonly ?string $name = null,
        public readonly ?array $inputSchema = null,
    ) {
    }
}
