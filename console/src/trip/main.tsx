import { bootPublic } from "../shared/boot";
import { TripApp } from "./TripApp";

void bootPublic("system", (config) => <TripApp config={config} />);
